// What readers who follow a publication are told, and what stays true for
// those who have pinned a block that is being written.

#include <set>

#include "protocol/limits.h"
#include "tests/unit/daemon/core/core_fixture.h"

namespace kvferry::core {
namespace {

using protocol::kNoWriter;
using protocol::PublishAnswer;
using protocol::ResidenceState;
using test::IsOk;
using test::StatusIs;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FollowedPublicationTest : public CoreFixture {
 protected:
  // A publication's writer of one slice, as its record says.
  uint16_t Writer(const TestSession& session, uint32_t handle,
                  uint32_t slice) const {
    return publication(session.slot(handle)).writers[slice];
  }
  uint16_t RefOf(const TestSession& session, uint32_t handle) const {
    const auto file = core_->ProgressFileOf(session.number());
    EXPECT_THAT(file, IsOk());
    return protocol::PackWriterRef(
        {*file, static_cast<uint8_t>(session.Opened(handle).blocks[0])});
  }
};

TEST_F(FollowedPublicationTest, AnOpenIsAnsweredBySlotGenerationAndRecord) {
  Make(8);
  auto session = Session(0);

  ASSERT_THAT(session->Open(5, 1), IsOk());

  const protocol::ReplyRecord opened = session->Opened(5);
  EXPECT_NE(opened.count, 0u);
  EXPECT_EQ(publication(opened.first).generation, opened.count);
  EXPECT_TRUE(IsOpen(opened.first));
  EXPECT_LT(opened.blocks[0], protocol::kProgressRecords);
  EXPECT_EQ(Writer(*session, 5, 0), RefOf(*session, 5));
}

TEST_F(FollowedPublicationTest, APendingSlotNamesItsPublicationAndPosition) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());

  ASSERT_THAT(session->Begin(1, 0, {Key(1), Key(2)}), IsOk());

  const protocol::PublicationRef expected{session->generation(1), 1,
                                          session->slot(1)};
  EXPECT_EQ(Ref(Key(2)), expected);
  EXPECT_EQ(Ref(Key(1)).position, 0u);
  EXPECT_EQ(publication(session->slot(1)).begun, 2u);
}

TEST_F(FollowedPublicationTest, EachThingThatHappensToItIsToldOnce) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  const std::atomic<uint32_t>& changes = publication(session->slot(1)).changes;
  EXPECT_THAT(core_->TakeWakes(), ElementsAre(&changes));

  uint32_t before = changes;
  auto told = [&] {
    const bool bumped = changes != before;
    before = changes;
    return bumped && core_->TakeWakes() == std::vector{&changes};
  };
  ASSERT_THAT(session->Begin(1, 0, {Key(1), Key(2), Key(3)}), IsOk());
  EXPECT_TRUE(told());
  ASSERT_THAT(session->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(told());
  ASSERT_THAT(session->Abort(1, 1, 1), IsOk());
  EXPECT_TRUE(told());
  core_->Clear();
  EXPECT_TRUE(told());
  ASSERT_THAT(session->Close(1), IsOk());
  EXPECT_TRUE(told());
  EXPECT_THAT(core_->TakeWakes(), IsEmpty());
}

TEST_F(FollowedPublicationTest, WritersComeAndGoByTheirSlices) {
  Make(8, 3);
  auto rank0 = Session(0);
  auto rank1 = Session(1);
  ASSERT_THAT(rank0->Open(1, 9, 0b011), IsOk());
  ASSERT_THAT(rank1->Open(1, 9, 0b100), IsOk());
  EXPECT_EQ(rank0->slot(1), rank1->slot(1));
  EXPECT_EQ(rank0->generation(1), rank1->generation(1));
  EXPECT_EQ(Writer(*rank0, 1, 0), RefOf(*rank0, 1));
  EXPECT_EQ(Writer(*rank0, 1, 1), RefOf(*rank0, 1));
  EXPECT_EQ(Writer(*rank0, 1, 2), RefOf(*rank1, 1));

  ASSERT_THAT(rank0->Close(1), IsOk());

  EXPECT_EQ(Writer(*rank0, 1, 0), kNoWriter);
  EXPECT_EQ(Writer(*rank0, 1, 2), RefOf(*rank1, 1));
  EXPECT_TRUE(IsOpen(rank0->slot(1)));
  core_->RemoveSession(1, 0);
  EXPECT_FALSE(IsOpen(rank0->slot(1)));
}

// Goal    Nobody takes a block for whole because a rank that does not write it
//         has passed it: a rank passes what it is told is in flight.
// Method  Blocks of one slice, which whoever comes first writes; every rank
//         must be known, as a reader asks all of them.
TEST_F(FollowedPublicationTest, RanksThatShareBlocksOfOneSliceAreAllKnown) {
  Make(8, 1);
  std::vector<std::unique_ptr<TestSession>> ranks;
  std::set<uint16_t> known;
  for (uint16_t i = 0; i < 8; ++i) {
    ranks.push_back(Session(i));
    ASSERT_THAT(ranks.back()->Open(1, 9), IsOk());
    known.insert(RefOf(*ranks.back(), 1));
  }
  ASSERT_THAT(ranks[5]->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(ranks[0]->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(ranks[0]->Answers(), ElementsAre(PublishAnswer::kInFlight));

  EXPECT_TRUE(Ref(Key(1)).followable());
  for (const auto& writer : publication(ranks[0]->slot(1)).writers) {
    if (writer != kNoWriter) known.erase(writer);
  }
  EXPECT_THAT(known, IsEmpty());
}

// Goal    As above, for two that claim the same slice of several.
TEST_F(FollowedPublicationTest, OfTwoWithTheSameSlicesReadersKnowOnlyTheFirst) {
  Make(8, 2);
  auto first = Session(0);
  auto twin = Session(1);
  auto other = Session(2);
  ASSERT_THAT(first->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(twin->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(other->Open(1, 9, 0b10), IsOk());
  EXPECT_EQ(twin->generation(1), 0u);

  // What the twin begins first cannot be followed.
  ASSERT_THAT(twin->Begin(1, 0, {Key(1)}), IsOk());
  EXPECT_THAT(twin->Answers(), ElementsAre(PublishAnswer::kYours));
  EXPECT_FALSE(Ref(Key(1)).followable());
  // What the other has begun is left to the first.
  ASSERT_THAT(other->Begin(1, 0, {Key(1), Key(2)}), IsOk());
  ASSERT_THAT(twin->Begin(1, 1, {Key(2)}), IsOk());
  EXPECT_EQ(twin->Answers().back(), PublishAnswer::kInFlight);
  ASSERT_THAT(first->Begin(1, 0, {Key(1), Key(2)}), IsOk());

  EXPECT_TRUE(Ref(Key(2)).followable());
  EXPECT_THAT(first->Answers(),
              ElementsAre(PublishAnswer::kInFlight, PublishAnswer::kYours));
  ASSERT_THAT(twin->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(other->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
}

// Goal    A record that an earlier handle of the same publication left is not
//         read as the progress of another handle on other slices.
TEST_F(FollowedPublicationTest, ARecordThatSpeaksOfThePublicationIsNotTaken) {
  Make(8, 2);
  auto session = Session(0);
  auto keeper = Session(1);
  ASSERT_THAT(keeper->Open(1, 9, 0b10), IsOk());
  for (uint32_t i = 1; i < protocol::kProgressRecords; ++i) {
    ASSERT_THAT(session->Open(100 + i, 100 + i), IsOk());
  }
  ASSERT_THAT(session->Open(1, 9, 0b01), IsOk());
  session->Tell(1, 7);
  const uint32_t record = session->Opened(1).blocks[0];
  ASSERT_THAT(session->Close(1), IsOk());

  ASSERT_THAT(session->Open(2, 9, 0b01), IsOk());
  EXPECT_EQ(session->generation(2), 0u);
  ASSERT_THAT(session->Close(2), IsOk());
  ASSERT_THAT(session->Close(101), IsOk());
  ASSERT_THAT(session->Open(3, 9, 0b01), IsOk());

  EXPECT_NE(session->generation(3), 0u);
  EXPECT_NE(session->Opened(3).blocks[0], record);
}

TEST_F(FollowedPublicationTest, ASlotIsUsedAgainUnderAnotherGeneration) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  const uint32_t slot = session->slot(1);
  const uint32_t generation = session->generation(1);
  ASSERT_THAT(session->Close(1), IsOk());
  EXPECT_FALSE(IsOpen(slot));

  for (uint32_t i = 0; i < protocol::kPublicationSlots; ++i) {
    session->replies.clear();
    ASSERT_THAT(session->Open(2, 2), IsOk());
    if (i + 1 < protocol::kPublicationSlots) {
      ASSERT_NE(session->slot(2), slot);
      ASSERT_THAT(session->Close(2), IsOk());
    }
  }

  EXPECT_EQ(session->slot(2), slot);
  EXPECT_NE(session->generation(2), generation);
  EXPECT_TRUE(IsOpen(slot));
}

TEST_F(FollowedPublicationTest, HandlesBeyondTheRecordsCannotBeFollowed) {
  Make(400);
  auto session = Session(0);
  std::set<uint32_t> records;
  for (uint32_t i = 0; i < protocol::kProgressRecords; ++i) {
    ASSERT_THAT(session->Open(i, i), IsOk());
    ASSERT_NE(session->generation(i), 0u);
    records.insert(session->Opened(i).blocks[0]);
  }
  EXPECT_THAT(records, testing::SizeIs(protocol::kProgressRecords));

  ASSERT_THAT(session->Open(1000, 1000), IsOk());
  EXPECT_EQ(session->generation(1000), 0u);
  ASSERT_THAT(session->Begin(1000, 0, {Key(1)}), IsOk());
  EXPECT_FALSE(Ref(Key(1)).followable());
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  ASSERT_THAT(session->Commit(1000, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));

  ASSERT_THAT(session->Close(7), IsOk());
  ASSERT_THAT(session->Open(1001, 1001), IsOk());
  EXPECT_NE(session->generation(1001), 0u);
}

TEST_F(FollowedPublicationTest, PublicationsBeyondTheSlotsWorkUnfollowed) {
  Make(8);
  std::vector<std::unique_ptr<TestSession>> sessions;
  uint32_t opened = 0;
  for (uint16_t s = 0; opened < protocol::kPublicationSlots; ++s) {
    sessions.push_back(Session(s));
    for (uint32_t i = 0;
         i < protocol::kProgressRecords && opened < protocol::kPublicationSlots;
         ++i) {
      ASSERT_THAT(sessions.back()->Open(i, opened++), IsOk());
      ASSERT_NE(sessions.back()->generation(i), 0u);
      sessions.back()->replies.clear();
    }
  }
  auto late = Session(900);

  ASSERT_THAT(late->Open(1, opened), IsOk());
  EXPECT_EQ(late->generation(1), 0u);
  ASSERT_THAT(late->Begin(1, 0, {Key(1), Key(2)}), IsOk());
  EXPECT_FALSE(Ref(Key(1)).followable());
  ASSERT_THAT(late->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(late->Close(1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(2)).state, ResidenceState::kFree);
  // A slot that comes back is the next one's.
  ASSERT_THAT(sessions[0]->Close(0), IsOk());
  ASSERT_THAT(late->Open(2, opened + 1), IsOk());
  EXPECT_NE(late->generation(2), 0u);
}

TEST_F(FollowedPublicationTest, ALingeringPublicationStaysOpenToItsReaders) {
  Make(8, 2);
  auto rank0 = Session(0);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());

  ASSERT_THAT(rank0->Close(1), IsOk());
  EXPECT_TRUE(IsOpen(rank0->slot(1)));
  core_->Tick(protocol::kPublicationLingerMs);

  EXPECT_FALSE(IsOpen(rank0->slot(1)));
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
}

TEST_F(FollowedPublicationTest, ProgressFilesHaveNumbersThatComeBack) {
  Make(8);
  auto session = Session(3);
  const auto file = core_->ProgressFileOf(3);
  ASSERT_THAT(file, IsOk());
  const auto back = core_->SessionOfProgressFile(*file);
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(*back, 3u);

  core_->RemoveSession(3, 0);
  EXPECT_THAT(core_->ProgressFileOf(3), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(core_->SessionOfProgressFile(*file),
              StatusIs(absl::StatusCode::kNotFound));

  // The last of all numbers to be used again.
  std::vector<std::unique_ptr<TestSession>> others;
  for (uint16_t i = 0; i < protocol::kSessionsPerNamespaceMax; ++i) {
    others.push_back(Session(static_cast<uint16_t>(100 + i)));
    const auto number = core_->ProgressFileOf(static_cast<uint16_t>(100 + i));
    ASSERT_THAT(number, IsOk());
    ASSERT_EQ(*number == *file, i + 1 == protocol::kSessionsPerNamespaceMax);
  }
}

TEST_F(FollowedPublicationTest, AnAbortedBlockRestsWhileItIsPinned) {
  Make(2);
  auto writer = Session(0);
  auto reader = Session(1);
  ASSERT_THAT(writer->Open(1, 1), IsOk());
  ASSERT_THAT(writer->Begin(1, 0, {Key(1)}), IsOk());
  const uint32_t block = writer->AnsweredBlocks()[0];
  const uint32_t generation = Find(Key(1)).generation;
  reader->Pin(block);

  ASSERT_THAT(writer->Abort(1, 0, 1), IsOk());
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  core_->Tick(50);
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  EXPECT_EQ(protocol::UnpackBlockState(state(block).word).generation,
            generation);
  // It is nobody's meanwhile.
  ASSERT_THAT(writer->Open(2, 2), IsOk());
  ASSERT_THAT(writer->Begin(2, 0, {Key(2)}), IsOk());
  EXPECT_NE(Find(Key(2)).block, block);
  reader->Unpin(block);
  core_->Tick(100);

  EXPECT_EQ(core_->counts(0).quarantined, 0u);
  EXPECT_EQ(core_->counts(0).free, 1u);
}

TEST_F(FollowedPublicationTest, SoDoesOneThatDiedOrWasCleared) {
  Make(8);
  auto one = Session(0);
  auto two = Session(1);
  auto reader = Session(2);
  ASSERT_THAT(one->Open(1, 1), IsOk());
  ASSERT_THAT(two->Open(1, 2), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(two->Begin(1, 0, {Key(2)}), IsOk());
  reader->Pin(Find(Key(1)).block);
  reader->Pin(Find(Key(2)).block);

  core_->RemoveSession(0, 0);
  core_->Clear();
  ASSERT_THAT(two->Close(1), IsOk());

  EXPECT_EQ(core_->counts(0).quarantined, 2u);
  core_->RemoveSession(2, 0);  // the reader dies
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(FollowedPublicationTest, APinDoesNotKeepABlockFromBecomingReady) {
  Make(8);
  auto writer = Session(0);
  auto reader = Session(1);
  ASSERT_THAT(writer->Open(1, 1), IsOk());
  ASSERT_THAT(writer->Begin(1, 0, {Key(1)}), IsOk());
  const protocol::Residence pending = Find(Key(1));
  reader->Pin(pending.block);

  ASSERT_THAT(writer->Commit(1, 0, 1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(1)).block, pending.block);
  EXPECT_EQ(Find(Key(1)).generation, pending.generation);
  EXPECT_EQ(core_->Evict("", 8, 10).pinned, 1u);
}

TEST_F(FollowedPublicationTest, ATailSaysHowManyTokensAreValid) {
  Make(8);  // blocks of 16 tokens
  auto writer = Session(0);
  ASSERT_THAT(writer->Open(1, 1), IsOk());

  ASSERT_THAT(writer->Begin(1, 0, {Key(1), Key(2)}, {}, {}, 0, 5), IsOk());

  EXPECT_EQ(state(Find(Key(1)).block).content, 0u);
  EXPECT_EQ(state(Find(Key(2)).block).content, 5u);
  for (uint32_t tokens : {16u, 17u, ~0u}) {
    EXPECT_THAT(writer->Begin(1, 2, {Key(3)}, {}, {}, 0, tokens),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::to_string(tokens))));
  }
  ASSERT_THAT(writer->Begin(1, 2, {Key(3)}, {}, {}, 0, 15), IsOk());
}

TEST_F(FollowedPublicationTest, TheNextUseOfATailsBlockIsAFullOne) {
  Make(1);
  auto writer = Session(0);
  ASSERT_THAT(writer->Open(1, 1), IsOk());
  ASSERT_THAT(writer->Begin(1, 0, {Key(1)}, {}, {}, 0, 5), IsOk());
  ASSERT_THAT(writer->Commit(1, 0, 1), IsOk());

  ASSERT_THAT(writer->Begin(1, 1, {Key(2)}), IsOk());

  EXPECT_EQ(state(Find(Key(2)).block).content, 0u);
}

}  // namespace
}  // namespace kvferry::core
