// Publishing as a session sees it: begin, commit, abort, ranks, bad input.

#include "tests/unit/daemon/core/core_fixture.h"

namespace kvferry::core {
namespace {

using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::ResidenceState;
using protocol::SubmitType;
using test::IsOk;
using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PublicationTest : public CoreFixture {};

TEST_F(PublicationTest, ABlockIsPendingFromBeginAndReadyFromCommit) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());

  ASSERT_THAT(session->Begin(1, 0, {Key(1)}), IsOk());
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  ASSERT_THAT(session->Commit(1, 0, 1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_THAT(session->Answers(),
              ElementsAre(PublishAnswer::kYours, PublishAnswer::kCommitted));
  EXPECT_EQ(core_->counters().published_blocks, 1u);
}

TEST_F(PublicationTest, GrantedBlocksAreTakenWithoutBeingAnsweredBack) {
  Make(800);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(session->granted, testing::SizeIs(8));  // 1 % of 800

  const uint32_t block = session->granted[3];
  ASSERT_THAT(session->Begin(1, 0, {Key(1)}, {block}), IsOk());

  EXPECT_EQ(Find(Key(1)).block, block);
  EXPECT_THAT(session->AnsweredBlocks(), IsEmpty());
  EXPECT_THAT(session->Answers(), ElementsAre(PublishAnswer::kYours));
}

TEST_F(PublicationTest, GrantsAreToppedUpBelowHalf) {
  Make(800);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  const std::vector<uint32_t> first = session->granted;

  ASSERT_THAT(session->Begin(1, 0, {Key(1), Key(2), Key(3), Key(4), Key(5)},
                             {first.begin(), first.begin() + 5}),
              IsOk());

  EXPECT_THAT(session->granted, testing::SizeIs(8 + 5));
  EXPECT_EQ(core_->session_counts(0).granted, 8u);
}

TEST_F(PublicationTest, AnExistingKeyLeavesTheOfferWithItsSession) {
  Make(800);
  auto session = Session(0);
  Publish(*session, 1, {Key(1)});
  ASSERT_THAT(session->Open(2, 2), IsOk());
  session->replies.clear();

  ASSERT_THAT(session->Begin(2, 0, {Key(1)}, {session->granted[0]}), IsOk());
  EXPECT_THAT(session->Answers(), ElementsAre(PublishAnswer::kExists));

  EXPECT_THAT(session->Return({session->granted[0]}), IsOk());
}

TEST_F(PublicationTest, AKeyThatAnotherPublicationWritesIsInFlight) {
  Make(8);
  auto one = Session(0);
  auto two = Session(1);
  ASSERT_THAT(one->Open(1, 1), IsOk());
  ASSERT_THAT(two->Open(1, 2), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(1)}), IsOk());

  ASSERT_THAT(two->Begin(1, 0, {Key(1), Key(2)}), IsOk());

  EXPECT_THAT(two->Answers(),
              ElementsAre(PublishAnswer::kInFlight, PublishAnswer::kYours));
}

TEST_F(PublicationTest, ABlockIsVisibleOnlyWhenEverySliceIsCommitted) {
  Make(8, /*slices=*/2);
  auto rank0 = Session(0);
  auto rank1 = Session(1);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank1->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank1->Begin(1, 0, {Key(1)}), IsOk());
  EXPECT_EQ(rank0->AnsweredBlocks(), rank1->AnsweredBlocks());

  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());
  EXPECT_FALSE(Ready(Key(1)));
  ASSERT_THAT(rank1->Commit(1, 0, 1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(PublicationTest, ARankThatDiesTakesItsBlocksWithIt) {
  Make(8, 2);
  auto rank0 = Session(0);
  auto rank1 = Session(1);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank1->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank1->Begin(1, 0, {Key(1)}), IsOk());

  core_->RemoveSession(1, 0);

  // Rank 0 may still be writing: the block is nobody else's yet.
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());
  EXPECT_THAT(rank0->Answers(),
              ElementsAre(PublishAnswer::kYours, PublishAnswer::kVoid));
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(PublicationTest, ALateRankFindsThePublicationThatLingers) {
  Make(8, 2);
  auto rank0 = Session(0);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(rank0->Close(1), IsOk());

  auto rank1 = Session(1);
  ASSERT_THAT(rank1->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(rank1->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank1->Commit(1, 0, 1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(PublicationTest, APublicationNobodyFinishesEndsAfterItsLinger) {
  Make(8, 2);
  auto rank0 = Session(0);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(rank0->Close(1), IsOk());

  core_->Tick(protocol::kPublicationLingerMs - 1);
  EXPECT_EQ(core_->counts(0).publishing, 1u);
  core_->Tick(protocol::kPublicationLingerMs);

  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(PublicationTest, AGroupWithOneSliceIsWrittenByWhoeverBeginsItFirst) {
  Make(8, 1);
  auto rank0 = Session(0);
  auto rank1 = Session(1);
  ASSERT_THAT(rank0->Open(1, 9), IsOk());
  ASSERT_THAT(rank1->Open(1, 9), IsOk());

  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank1->Begin(1, 0, {Key(1)}), IsOk());

  EXPECT_THAT(rank0->Answers(), ElementsAre(PublishAnswer::kYours));
  EXPECT_THAT(rank1->Answers(), ElementsAre(PublishAnswer::kInFlight));
}

TEST_F(PublicationTest, RanksThatDisagreeAboutAPositionDoNotShareIt) {
  Make(8, 2);
  auto rank0 = Session(0);
  auto rank1 = Session(1);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank1->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());

  ASSERT_THAT(rank1->Begin(1, 0, {Key(2)}), IsOk());

  EXPECT_THAT(rank1->Answers(), ElementsAre(PublishAnswer::kVoid));
}

TEST_F(PublicationTest, AbortGivesTheBlockBackAndCommitComesTooLate) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(session->Begin(1, 0, {Key(1), Key(2)}), IsOk());

  ASSERT_THAT(session->Abort(1, 0, 1), IsOk());
  ASSERT_THAT(session->Commit(1, 0, 2), IsOk());

  EXPECT_FALSE(Ready(Key(1)));
  EXPECT_TRUE(Ready(Key(2)));
  EXPECT_THAT(session->Answers(),
              ElementsAre(PublishAnswer::kYours, PublishAnswer::kYours,
                          PublishAnswer::kVoid, PublishAnswer::kVoid,
                          PublishAnswer::kCommitted));
  EXPECT_EQ(core_->counts(0).free, 7u);
}

TEST_F(PublicationTest, CloseAbortsWhatIsNotCommitted) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(session->Begin(1, 0, {Key(1), Key(2)}), IsOk());
  ASSERT_THAT(session->Commit(1, 0, 1), IsOk());

  ASSERT_THAT(session->Close(1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(2)).state, ResidenceState::kFree);
  EXPECT_EQ(core_->counts(0).free, 7u);
}

TEST_F(PublicationTest, CommittingTwiceCountsOnce) {
  Make(8, 2);
  auto rank0 = Session(0);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());

  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());

  EXPECT_FALSE(Ready(Key(1)));
  EXPECT_THAT(rank0->Answers(),
              ElementsAre(PublishAnswer::kYours, PublishAnswer::kCommitted,
                          PublishAnswer::kVoid));
}

TEST_F(PublicationTest, MemoryFullOfPinnedBlocksAnswersNoSpace) {
  Make(4);
  auto session = Session(0);
  const std::vector<uint32_t> blocks =
      Publish(*session, 1, {Key(1), Key(2), Key(3), Key(4)});
  for (uint32_t block : blocks) session->Pin(block);
  ASSERT_THAT(session->Open(2, 2), IsOk());
  session->replies.clear();

  ASSERT_THAT(session->Begin(2, 0, {Key(5)}), IsOk());
  EXPECT_THAT(session->Answers(), ElementsAre(PublishAnswer::kNoSpace));
  EXPECT_EQ(core_->counters().no_space, 1u);

  // The moment a tail is unpinned there is room.
  session->Unpin(blocks[3]);
  ASSERT_THAT(session->Begin(2, 1, {Key(6)}), IsOk());
  EXPECT_EQ(session->Answers().back(), PublishAnswer::kYours);
  EXPECT_FALSE(Ready(Key(4)));
}

TEST_F(PublicationTest, ASessionWritesAtMostHalfOfAGroupAtOnce) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());

  ASSERT_THAT(session->Begin(1, 0, {Key(1), Key(2), Key(3), Key(4), Key(5)}),
              IsOk());

  EXPECT_EQ(session->Answers().back(), PublishAnswer::kNoSpace);
  ASSERT_THAT(session->Commit(1, 0, 4), IsOk());
  ASSERT_THAT(session->Begin(1, 5, {Key(6)}), IsOk());
  EXPECT_EQ(session->Answers().back(), PublishAnswer::kYours);
}

TEST_F(PublicationTest, ClearVoidsWhatIsBeingPublished) {
  Make(8);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(session->Begin(1, 0, {Key(1)}), IsOk());

  EXPECT_EQ(core_->Clear(), 1u);
  ASSERT_THAT(session->Commit(1, 0, 1), IsOk());

  EXPECT_FALSE(Ready(Key(1)));
  EXPECT_THAT(session->Answers(),
              ElementsAre(PublishAnswer::kYours, PublishAnswer::kVoid));
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(PublicationTest, RecallAsksIdleSessionsForTheirGrants) {
  Make(200);  // grants of two
  auto idle = Session(0);
  auto busy = Session(1);
  ASSERT_THAT(idle->Open(1, 1), IsOk());
  ASSERT_THAT(idle->granted, testing::SizeIs(2));
  ASSERT_THAT(busy->Open(1, 2), IsOk());
  std::vector<BlockKey> keys;
  for (uint64_t i = 0; i < 100; ++i) keys.push_back(Key(100 + i));
  std::vector<uint32_t> blocks = Publish(*busy, 2, keys);
  for (uint64_t i = 0; i < 100; ++i) keys[i] = Key(300 + i);
  const std::vector<uint32_t> more = Publish(*busy, 3, keys);
  blocks.insert(blocks.end(), more.begin(), more.end());
  for (uint32_t block : blocks) busy->Pin(block);
  ASSERT_THAT(busy->Open(4, 4), IsOk());

  std::vector<BlockKey> last = {Key(900), Key(901), Key(902), Key(903)};
  ASSERT_THAT(busy->Begin(4, 0, last), IsOk());

  EXPECT_THAT(core_->TakePokes(), testing::Contains(0));
  EXPECT_EQ(idle->replies.back().type,
            static_cast<uint8_t>(protocol::ReplyType::kRecall));
  ASSERT_THAT(idle->Return(idle->granted), IsOk());
  EXPECT_EQ(core_->session_counts(0).granted, 0u);
}

// Goal    A recall never takes the room that a run's answers were promised.
// Method  The caller's reply ring has room for exactly RepliesMax; every
//         position is answered on its own and the first finds no block while
//         the caller holds a grant that could be recalled.
TEST_F(PublicationTest, ARecallDoesNotFillTheRingOfTheRunThatWantsIt) {
  Make(400);  // grants of four
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  std::vector<BlockKey> keys;
  for (uint64_t i = 0; i < 196; ++i) keys.push_back(Key(1000 + i));
  std::vector<uint32_t> blocks = Publish(*session, 2, keys);
  for (uint64_t i = 0; i < 200; ++i) {
    keys.resize(200);
    keys[i] = Key(2000 + i);
  }
  const std::vector<uint32_t> more = Publish(*session, 3, keys);
  blocks.insert(blocks.end(), more.begin(), more.end());
  for (uint32_t block : blocks) session->Pin(block);
  auto head = TestSession::Record(SubmitType::kBegin, 1);
  head.begin = {0, protocol::kBlocksPerRunMax, 0, 0};
  std::vector<protocol::SubmitRecord> run = {head};
  for (uint32_t i = 0; i < protocol::kBlocksPerRunMax; ++i) {
    run.push_back(TestSession::Record(SubmitType::kBeginBlock, 1));
    const BlockKey key = Key(5000 + i);
    run.back().begin_block = {
        key.lo, key.hi, i % 2 == 0 ? kNoBlock : protocol::kAlreadyThere, 0};
  }
  while (session->Room() > NamespaceCore::RepliesMax(head)) {
    session->replies.push_back({});
  }

  EXPECT_THAT(session->Submit(run), IsOk());

  EXPECT_EQ(session->Room(), 0u);
}

TEST_F(PublicationTest, ARevokedSessionKeepsItsBlocksButNobodyWaitsForThem) {
  Make(8);
  auto bad = Session(0);
  auto good = Session(1);
  ASSERT_THAT(bad->Open(1, 1), IsOk());
  ASSERT_THAT(good->Open(1, 2), IsOk());
  ASSERT_THAT(bad->Begin(1, 0, {Key(1)}), IsOk());

  core_->RevokeSession(0);

  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  ASSERT_THAT(good->Begin(1, 0, {Key(1)}), IsOk());
  EXPECT_THAT(good->Answers(), ElementsAre(PublishAnswer::kYours));
  EXPECT_THAT(bad->Commit(1, 0, 1),
              StatusIs(absl::StatusCode::kPermissionDenied));
  core_->RemoveSession(0, 0);
  EXPECT_EQ(core_->counts(0).free, 7u);
}

TEST_F(PublicationTest, PositionsJoinedCountAgainstTheSessionToo) {
  Make(8, 2);
  auto rank = Session(0);
  std::vector<BlockKey> keys;
  for (uint64_t i = 0; i < protocol::kBlocksPerRunMax; ++i) {
    keys.push_back(Key(10 + i));
  }
  const std::vector<uint32_t> there(keys.size(), protocol::kAlreadyThere);
  absl::Status status;
  uint32_t begun = 0;
  for (uint32_t handle = 0; handle < 300 && status.ok(); ++handle) {
    status = rank->Open(handle, 9, 0b01);
    for (uint32_t run = 0; run < 4 && status.ok(); ++run) {
      status =
          rank->Begin(handle, run * protocol::kBlocksPerRunMax, keys, there);
      if (status.ok()) begun += protocol::kBlocksPerRunMax;
      rank->replies.clear();
    }
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(begun, protocol::kEntriesPerSessionMax);
}

TEST_F(PublicationTest, AClientThatLiesAboutItsCountsDoesNotWrapTheSums) {
  Make(8);
  auto liar = Session(0);
  auto* header =
      const_cast<protocol::SessionClientHeader*>(liar->memory().header);
  header->match_calls = ~uint64_t{0};
  header->matched_blocks = ~uint64_t{0};
  header->missed_calls = ~uint64_t{0};
  const NamespaceCounters alive = core_->counters();

  core_->RemoveSession(0, 0);

  EXPECT_LE(core_->counters().lookups, uint64_t{1} << 48);
  EXPECT_EQ(core_->counters().lookups, alive.lookups);
  EXPECT_EQ(core_->counters().hit_blocks, alive.hit_blocks);
  EXPECT_EQ(core_->counters().missed_lookups, alive.missed_lookups);
}

// What a session may not do: refused, and nothing of the run was done.
class HostileSubmitTest : public CoreFixture {
 protected:
  void SetUp() override {
    Make(800);
    session_ = Session(0);
    other_ = Session(1);
    ASSERT_THAT(session_->Open(1, 1), IsOk());
    ASSERT_THAT(other_->Open(1, 2), IsOk());
  }
  std::unique_ptr<TestSession> session_;
  std::unique_ptr<TestSession> other_;
};

TEST_F(HostileSubmitTest, BlocksThatAreNotGranted) {
  for (uint32_t block : {other_->granted[0], 799u, 800u, 0x0fff'ffffu}) {
    EXPECT_THAT(
        session_->Begin(1, 0, {Key(1)}, {block}),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not granted")));
  }
  // Offered twice: neither is taken.
  const uint32_t mine = session_->granted[0];
  EXPECT_THAT(session_->Begin(1, 0, {Key(1), Key(2)}, {mine, mine}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(core_->session_counts(0).granted, 8u);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
}

TEST_F(HostileSubmitTest, RunsOutOfOrderOrOfTheWrongLength) {
  EXPECT_THAT(session_->Begin(1, 3, {Key(1)}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Begin(9, 0, {Key(1)}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(session_->Begin(1, 0, {}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Begin(1, 0, {Key(1)}, {}, {}, /*group=*/7),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Begin(1, 0, {BlockKey{}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  auto huge = TestSession::Record(SubmitType::kBegin, 1);
  huge.begin = {0, 0xffff'ffff, 0, 0};
  EXPECT_LE(NamespaceCore::RunLength(huge), protocol::kRingRecords);
  EXPECT_LE(NamespaceCore::RepliesMax(huge), protocol::kRingRecords);
  EXPECT_THAT(session_->Submit({huge}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(HostileSubmitTest, RangesAndReturnsBeyondWhatTheyHave) {
  ASSERT_THAT(session_->Begin(1, 0, {Key(1)}), IsOk());
  EXPECT_THAT(session_->Commit(1, 0, 2),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Commit(1, 0xffff'ffff, 2),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Abort(2, 0, 1), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(session_->Return({other_->granted[0]}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const uint32_t mine = session_->granted[0];
  EXPECT_THAT(session_->Return({mine, mine}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Return(std::vector<uint32_t>(13, mine)),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(HostileSubmitTest, RecordsThatBeginNothing) {
  EXPECT_THAT(
      session_->Submit({TestSession::Record(SubmitType::kBeginBlock, 1)}),
      StatusIs(absl::StatusCode::kInvalidArgument));
  auto unknown = TestSession::Record(SubmitType::kOpen, 1);
  unknown.type = 200;
  EXPECT_THAT(session_->Submit({unknown}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Open(1, 5), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(session_->Open(2, 5, /*slice_set=*/0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session_->Open(2, 5, /*slice_set=*/2),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(HostileSubmitTest, AReaderMayNotPublish) {
  auto reader = Session(2, /*may_publish=*/false);
  EXPECT_THAT(reader->Open(1, 5),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(HostileSubmitTest, TouchesMaySayAnything) {
  Publish(*session_, 2, {Key(1)});
  session_->Touch(~uint64_t{0});
  session_->Touch(
      protocol::PackResidence({ResidenceState::kReady, 0x0fff'fff0, 1}));
  auto* header =
      const_cast<protocol::SessionClientHeader*>(session_->memory().header);
  header->touch_tail = ~uint64_t{0} - 3;

  core_->Tick(50);

  EXPECT_TRUE(Ready(Key(1)));
}

}  // namespace
}  // namespace kvferry::core
