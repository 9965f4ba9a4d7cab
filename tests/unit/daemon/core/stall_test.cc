// Writers that stand still or die, and what their progress words are worth.

#include "protocol/limits.h"
#include "tests/unit/daemon/core/core_fixture.h"

namespace kvferry::core {
namespace {

using protocol::PublishAnswer;
using protocol::ResidenceState;
using test::IsOk;
using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kStallMs = 200;

class StallTest : public CoreFixture {
 protected:
  // A session that has begun Key(1..3) at the time 0.
  void MakeWriter(uint32_t blocks = 8, uint32_t stall_ms = kStallMs) {
    Make(blocks);
    writer_ = Session(0);
    ASSERT_THAT(writer_->Open(1, 1, 1, 0, stall_ms), IsOk());
    ASSERT_THAT(writer_->Begin(1, 0, {Key(1), Key(2), Key(3)}), IsOk());
    writer_->Tell(1, 0);
  }

  std::unique_ptr<TestSession> writer_;
};

TEST_F(StallTest, WhatIsNotWrittenIsGivenUpAtTheDeadlineAndNotBefore) {
  MakeWriter();
  core_->Tick(1);  // sees the word's first store

  core_->Tick(kStallMs);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  core_->Tick(kStallMs + 1);

  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  EXPECT_EQ(core_->counters().stalled_publications, 1u);
  EXPECT_EQ(core_->counters().aborted_blocks, 3u);
}

TEST_F(StallTest, EachMoveOfTheWordIsAReprieve) {
  MakeWriter();
  core_->Tick(1);

  for (uint32_t positions = 1; positions <= 2; ++positions) {
    writer_->Tell(1, positions);
    core_->Tick(positions * kStallMs);
  }
  core_->Tick(3 * kStallMs - 1);

  EXPECT_EQ(Find(Key(3)).state, ResidenceState::kPending);
  EXPECT_EQ(core_->counters().stalled_publications, 0u);
}

TEST_F(StallTest, CommitsAndBeginsAreMovesToo) {
  MakeWriter();
  core_->Tick(1);
  writer_->now_ms = 150;
  ASSERT_THAT(writer_->Commit(1, 0, 1), IsOk());
  core_->Tick(kStallMs + 1);
  EXPECT_EQ(Find(Key(2)).state, ResidenceState::kPending);
  writer_->now_ms = 300;
  ASSERT_THAT(writer_->Begin(1, 3, {Key(4)}), IsOk());

  core_->Tick(300 + kStallMs - 1);
  EXPECT_EQ(Find(Key(2)).state, ResidenceState::kPending);
  core_->Tick(300 + kStallMs);

  EXPECT_EQ(Find(Key(2)).state, ResidenceState::kFree);
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(StallTest, WhatTheWordHasPassedIsReady) {
  MakeWriter();
  writer_->Tell(1, 2);
  core_->Tick(1);

  core_->Tick(kStallMs + 1);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_TRUE(Ready(Key(2)));
  EXPECT_EQ(Find(Key(3)).state, ResidenceState::kFree);
}

TEST_F(StallTest, ItsBlocksRestUntilItLetsGoOfThem) {
  MakeWriter();
  core_->Tick(1);
  core_->Tick(kStallMs + 1);
  EXPECT_EQ(core_->counts(0).quarantined, 3u);
  EXPECT_EQ(core_->counts(0).free, 5u);

  // It wakes and goes on as if nothing had been.
  ASSERT_THAT(writer_->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(writer_->Abort(1, 1, 1), IsOk());
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  ASSERT_THAT(writer_->Close(1), IsOk());

  EXPECT_THAT(writer_->Answers(),
              ElementsAre(PublishAnswer::kYours, PublishAnswer::kYours,
                          PublishAnswer::kYours, PublishAnswer::kVoid,
                          PublishAnswer::kVoid));
  EXPECT_EQ(core_->counts(0).quarantined, 0u);
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(StallTest, ACommitOfWhatWasTakenByTheWordIsAnswered) {
  MakeWriter();
  writer_->Tell(1, 1);
  core_->Tick(1);
  core_->Tick(kStallMs + 1);
  ASSERT_TRUE(Ready(Key(1)));

  ASSERT_THAT(writer_->Commit(1, 0, 1), IsOk());

  EXPECT_THAT(
      writer_->Answers().back(),
      testing::AnyOf(PublishAnswer::kCommitted, PublishAnswer::kExists));
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(StallTest, TheChargeStaysUntilItLetsGo) {
  MakeWriter();  // three of the four that it may write at once
  core_->Tick(1);
  core_->Tick(kStallMs + 1);
  writer_->now_ms = kStallMs + 2;

  ASSERT_THAT(writer_->Begin(1, 3, {Key(4), Key(5)}), IsOk());
  EXPECT_EQ(writer_->Answers().back(), PublishAnswer::kNoSpace);
  ASSERT_THAT(writer_->Abort(1, 0, 1), IsOk());
  ASSERT_THAT(writer_->Begin(1, 5, {Key(6)}), IsOk());

  EXPECT_EQ(writer_->Answers().back(), PublishAnswer::kYours);
}

TEST_F(StallTest, AnotherMayTakeTheKeyWhileTheOldBlockRests) {
  MakeWriter(16);
  auto other = Session(1);
  core_->Tick(1);
  core_->Tick(kStallMs + 1);
  ASSERT_THAT(other->Open(1, 2), IsOk());

  ASSERT_THAT(other->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(other->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(writer_->Commit(1, 0, 3), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(1)).block, other->AnsweredBlocks()[0]);
}

TEST_F(StallTest, AStandbyOfAStalledWriterTakesItsPlace) {
  MakeWriter(16);
  auto other = Session(1);
  ASSERT_THAT(other->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(other->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(other->Commit(1, 0, 1), IsOk());
  core_->Tick(1);

  core_->Tick(kStallMs + 1);

  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(StallTest, DeathEndsTheRest) {
  MakeWriter();
  core_->Tick(1);
  core_->Tick(kStallMs + 1);

  core_->RemoveSession(0, 300);

  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(StallTest, WhoHasNothingLeftToWriteDoesNotStall) {
  MakeWriter();
  ASSERT_THAT(writer_->Commit(1, 0, 3), IsOk());

  core_->Tick(kStallMs * 10);

  EXPECT_EQ(core_->counters().stalled_publications, 0u);
  EXPECT_TRUE(Ready(Key(3)));
}

TEST_F(StallTest, TheDefaultIsHalfAMinute) {
  MakeWriter(8, /*stall_ms=*/0);
  core_->Tick(1);

  core_->Tick(protocol::kStallMsDefault);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  core_->Tick(protocol::kStallMsDefault + 1);

  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
}

TEST_F(StallTest, OthersThanTheBoundsAreRefused) {
  Make(8);
  auto session = Session(0);
  for (uint32_t ms : {protocol::kStallMsMin - 1, protocol::kStallMsMax + 1}) {
    EXPECT_THAT(session->Open(1, 1, 1, 0, ms),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::to_string(ms))));
  }
  EXPECT_THAT(session->Open(1, 1, 1, /*flags=*/2),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0x2")));
  EXPECT_THAT(session->Open(1, 1, 1, 0, protocol::kStallMsMin), IsOk());
}

// What a writer leaves when it dies.
class WillTest : public StallTest {};

TEST_F(WillTest, WhatItsWordHasPassedIsCommittedAndTheRestIsNot) {
  MakeWriter();
  writer_->Tell(1, 2);

  core_->RemoveSession(0, 10);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_TRUE(Ready(Key(2)));
  EXPECT_EQ(Find(Key(3)).state, ResidenceState::kFree);
  EXPECT_EQ(core_->counts(0).free, 6u);
  EXPECT_EQ(core_->publication_count(), 0u);
}

TEST_F(WillTest, PositionsBeyondWhatItBeganMeanNothing) {
  MakeWriter();
  writer_->Tell(1, protocol::kBlocksPerPublicationMax);

  core_->RemoveSession(0, 10);

  EXPECT_TRUE(Ready(Key(3)));
  EXPECT_EQ(core_->counts(0).ready, 3u);
}

TEST_F(WillTest, AWordOfAnotherGenerationMeansNothing) {
  MakeWriter();
  writer_->progress(writer_->Opened(1).blocks[0]).word =
      protocol::PackProgress({writer_->generation(1) - 1, 3, 0});

  core_->RemoveSession(0, 10);

  EXPECT_EQ(core_->counts(0).ready, 0u);
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(WillTest, WhatItAbortedBeforeStaysAborted) {
  MakeWriter();
  ASSERT_THAT(writer_->Abort(1, 1, 1), IsOk());
  writer_->Tell(1, 3);  // it must not: but it may

  core_->RemoveSession(0, 10);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(2)).state, ResidenceState::kFree);
  EXPECT_TRUE(Ready(Key(3)));
}

TEST_F(WillTest, OneRanksWillIsNotTheOthers) {
  Make(8, 2);
  auto rank0 = Session(0);
  auto rank1 = Session(1);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank1->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1), Key(2)}), IsOk());
  ASSERT_THAT(rank1->Begin(1, 0, {Key(1), Key(2)}), IsOk());
  rank0->Tell(1, 1);
  rank1->Tell(1, 0);

  core_->RemoveSession(0, 10);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  EXPECT_EQ(Find(Key(2)).state, ResidenceState::kFree);
  ASSERT_THAT(rank1->Commit(1, 0, 2), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(rank1->Answers().back(), PublishAnswer::kVoid);
  EXPECT_EQ(core_->counts(0).free, 7u);
}

TEST_F(WillTest, NobodyWaitsForSlicesThatItHadNotBegun) {
  Make(8, 2);
  auto rank0 = Session(0);
  auto rank1 = Session(1);
  ASSERT_THAT(rank0->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(rank1->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());

  core_->RemoveSession(1, 10);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  EXPECT_EQ(core_->counts(0).quarantined, 1u);  // rank 0 may be writing it
  ASSERT_THAT(rank0->Begin(1, 1, {Key(2)}), IsOk());
  EXPECT_EQ(rank0->Answers().back(), PublishAnswer::kVoid);

  // Another process takes the slices over: what is begun from now on can come.
  auto heir = Session(2);
  ASSERT_THAT(heir->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(rank0->Begin(1, 2, {Key(3)}), IsOk());
  ASSERT_THAT(heir->Begin(1, 0, {Key(1), Key(2), Key(3)}), IsOk());
  ASSERT_THAT(heir->Commit(1, 2, 1), IsOk());
  ASSERT_THAT(rank0->Commit(1, 0, 3), IsOk());

  EXPECT_THAT(heir->Answers(),
              ElementsAre(PublishAnswer::kVoid, PublishAnswer::kVoid,
                          PublishAnswer::kYours, PublishAnswer::kCommitted));
  EXPECT_TRUE(Ready(Key(3)));
  EXPECT_EQ(core_->counts(0).free, 7u);
}

TEST_F(WillTest, ItsStandbysPassAsWellAndCountOnceTheOtherFails) {
  Make(16);
  auto one = Session(0);
  auto two = Session(1);
  ASSERT_THAT(one->Open(1, 1), IsOk());
  ASSERT_THAT(two->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(two->Begin(1, 0, {Key(1)}), IsOk());
  two->Tell(1, 1);

  core_->RemoveSession(1, 10);
  ASSERT_THAT(one->Abort(1, 0, 1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
}

}  // namespace
}  // namespace kvferry::core
