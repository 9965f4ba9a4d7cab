#include "sdk/publication_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sdk/grant_pool.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using protocol::kNoBlock;
using protocol::PublishAnswer;
using test::IsOkAndHolds;
using test::StatusIs;
using testing::HasSubstr;

class PublicationRecordTest : public testing::Test {
 protected:
  BlockOutcome outcome(uint32_t position) {
    return record_.entry(position).outcome;
  }
  uint32_t granted() { return grants_.count(0); }
  // Appends positions in blocks of their own, begun and not answered.
  void Begin(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) record_.Append(0, 100 + i);
    record_.MarkBegun();
  }
  void Answer(uint32_t position, PublishAnswer answer) {
    record_.Answer(position, answer, kNoBlock, &grants_);
  }
  bool Commit(uint32_t position) {
    return record_.EndPosition(position, /*commit=*/true, &grants_);
  }
  bool Abort(uint32_t position) {
    return record_.EndPosition(position, /*commit=*/false, &grants_);
  }

  GrantPool grants_{1};
  PublicationRecord record_{1, 1, /*whole=*/true};
};

TEST_F(PublicationRecordTest, AnOfferedBlockIsWrittenAtOnceAndTaken) {
  record_.Append(0, 7);
  EXPECT_EQ(outcome(0), BlockOutcome::kWriting);
  EXPECT_EQ(record_.entry(0).block, 7);
  record_.Answer(0, PublishAnswer::kYours, kNoBlock, &grants_);
  EXPECT_TRUE(record_.EndPosition(0, /*commit=*/true, &grants_));
  EXPECT_EQ(record_.unanswered_ranges(), 1);
  record_.Answer(0, PublishAnswer::kCommitted, kNoBlock, &grants_);
  EXPECT_EQ(outcome(0), BlockOutcome::kCommitted);
  EXPECT_EQ(record_.unanswered_ranges(), 0);
  EXPECT_EQ(granted(), 0);
}

// Goal    A block that was not taken is lent again only when the application
//         cannot be writing to it any more.
TEST_F(PublicationRecordTest, ARefusedBlockComesBackWhenItsWriterIsDone) {
  for (const PublishAnswer answer :
       {PublishAnswer::kExists, PublishAnswer::kInFlight,
        PublishAnswer::kNoSpace, PublishAnswer::kVoid}) {
    const uint32_t position = record_.size();
    const uint32_t before = granted();
    record_.Append(0, 7);
    record_.Answer(position, answer, kNoBlock, &grants_);
    EXPECT_NE(outcome(position), BlockOutcome::kWriting);
    EXPECT_EQ(granted(), before);  // its writer may not have looked yet

    EXPECT_FALSE(record_.EndPosition(position, /*commit=*/true, &grants_));
    EXPECT_EQ(granted(), before + 1);
  }
  EXPECT_EQ(record_.unanswered_ranges(), 0);
}

TEST_F(PublicationRecordTest, ARefusalAfterTheCommitReturnsTheBlockThen) {
  record_.Append(0, 7);
  EXPECT_TRUE(record_.EndPosition(0, /*commit=*/true, &grants_));
  EXPECT_EQ(granted(), 0);
  record_.Answer(0, PublishAnswer::kExists, kNoBlock, &grants_);
  EXPECT_EQ(outcome(0), BlockOutcome::kExists);
  EXPECT_EQ(granted(), 1);
  // The commit's own answer changes nothing but that it came.
  EXPECT_EQ(record_.unanswered_ranges(), 1);
  record_.Answer(0, PublishAnswer::kVoid, kNoBlock, &grants_);
  EXPECT_EQ(record_.unanswered_ranges(), 0);
  EXPECT_EQ(outcome(0), BlockOutcome::kExists);
  EXPECT_EQ(granted(), 1);
}

TEST_F(PublicationRecordTest, TheDaemonChoosesWhereNothingWasOffered) {
  record_.Append(0, kNoBlock);
  EXPECT_EQ(record_.awaiting(), 1);
  record_.Answer(0, PublishAnswer::kYours, 9, &grants_);
  EXPECT_EQ(record_.awaiting(), 0);
  EXPECT_EQ(outcome(0), BlockOutcome::kWriting);
  EXPECT_EQ(record_.entry(0).block, 9);
}

TEST_F(PublicationRecordTest, AnAnswerAfterTheEndBeginsNoWriting) {
  record_.Append(0, kNoBlock);
  record_.EndAll(&grants_);
  record_.Answer(0, PublishAnswer::kYours, 9, &grants_);
  EXPECT_EQ(outcome(0), BlockOutcome::kVoid);
  EXPECT_EQ(record_.unanswered_begins(), 0);
  EXPECT_EQ(granted(), 0);  // the daemon's: the close aborts it
}

// Goal    What the application wrote elsewhere is never committed.
TEST_F(PublicationRecordTest, AnotherBlockThanTheOfferedOneIsNotOurs) {
  record_.Append(0, 7);
  record_.Answer(0, PublishAnswer::kYours, 9, &grants_);
  EXPECT_EQ(outcome(0), BlockOutcome::kInFlight);
  EXPECT_FALSE(record_.EndPosition(0, /*commit=*/true, &grants_));
  EXPECT_EQ(granted(), 1);
}

TEST_F(PublicationRecordTest, AnAbortIsVoidWhateverIsAnswered) {
  record_.Append(0, 7);
  record_.Append(0, 8);
  EXPECT_TRUE(record_.EndPosition(0, /*commit=*/false, &grants_));
  EXPECT_TRUE(record_.EndPosition(1, /*commit=*/false, &grants_));
  EXPECT_EQ(outcome(0), BlockOutcome::kVoid);
  record_.Answer(0, PublishAnswer::kYours, kNoBlock, &grants_);
  record_.Answer(1, PublishAnswer::kExists, kNoBlock, &grants_);
  EXPECT_EQ(outcome(0), BlockOutcome::kVoid);
  EXPECT_EQ(outcome(1), BlockOutcome::kVoid);
  EXPECT_EQ(granted(), 1);  // the second was not taken
  EXPECT_FALSE(record_.EndPosition(0, /*commit=*/true, &grants_));
}

TEST_F(PublicationRecordTest, TruncateGivesLentBlocksBack) {
  record_.Append(0, 7);
  record_.Append(0, kNoBlock);
  record_.Append(0, 8);
  record_.Truncate(1, &grants_);
  EXPECT_EQ(record_.size(), 1);
  EXPECT_EQ(record_.awaiting(), 0);
  EXPECT_EQ(record_.unanswered_begins(), 1);
  EXPECT_EQ(granted(), 1);
}

TEST_F(PublicationRecordTest, VoidEndsWhatIsUnderWayAndKeepsWhatIsDone) {
  record_.Append(0, 7);
  record_.Append(0, 8);
  record_.Append(0, kNoBlock);
  record_.Append(0, protocol::kAlreadyThere);
  record_.Answer(0, PublishAnswer::kYours, kNoBlock, &grants_);
  record_.EndPosition(0, /*commit=*/true, &grants_);
  record_.Answer(0, PublishAnswer::kCommitted, kNoBlock, &grants_);
  record_.MakeVoid();
  EXPECT_EQ(outcome(0), BlockOutcome::kCommitted);
  EXPECT_EQ(outcome(1), BlockOutcome::kVoid);
  EXPECT_EQ(outcome(2), BlockOutcome::kVoid);
  EXPECT_EQ(outcome(3), BlockOutcome::kExists);
  EXPECT_EQ(record_.awaiting() + record_.unanswered_begins() +
                record_.unanswered_ranges(),
            0);
  record_.EndAll(&grants_);
  EXPECT_EQ(granted(), 0);  // grants went with the daemon
}

// --- standby ---

TEST_F(PublicationRecordTest, AStandbyIsWrittenAndCommitted) {
  Begin(3);
  record_.Append(0, kNoBlock);
  record_.MarkBegun();
  Answer(0, PublishAnswer::kStandby);
  EXPECT_EQ(outcome(0), BlockOutcome::kStandby);
  EXPECT_EQ(record_.entry(0).block, 100);
  EXPECT_EQ(record_.entry(0).offered, kNoBlock);
  EXPECT_EQ(record_.positions(), 0);
  record_.Answer(3, PublishAnswer::kStandby, 9, &grants_);
  EXPECT_EQ(outcome(3), BlockOutcome::kStandby);
  EXPECT_EQ(record_.entry(3).block, 9);

  EXPECT_TRUE(Commit(0));
  EXPECT_EQ(record_.positions(), 1);
  Answer(0, PublishAnswer::kCommitted);
  EXPECT_EQ(outcome(0), BlockOutcome::kCommitted);

  // Committed before anybody said that it is one; then the other was faster.
  EXPECT_TRUE(Commit(1));
  Answer(1, PublishAnswer::kStandby);
  EXPECT_EQ(outcome(1), BlockOutcome::kStandby);
  EXPECT_EQ(record_.positions(), 2);
  Answer(1, PublishAnswer::kExists);
  EXPECT_EQ(outcome(1), BlockOutcome::kExists);

  // The block was taken in each case, also of one that is aborted.
  EXPECT_TRUE(Abort(2));
  Answer(2, PublishAnswer::kStandby);
  EXPECT_EQ(outcome(2), BlockOutcome::kVoid);
  EXPECT_EQ(granted(), 0);
}

TEST_F(PublicationRecordTest, AStandbyEndsWithTheDaemon) {
  Begin(2);
  Answer(0, PublishAnswer::kStandby);
  Answer(1, PublishAnswer::kStandby);
  Commit(0);
  record_.MakeVoid();
  EXPECT_EQ(outcome(0), BlockOutcome::kVoid);
  EXPECT_EQ(outcome(1), BlockOutcome::kVoid);
}

// --- positions ---

TEST_F(PublicationRecordTest, PositionsCountInOrder) {
  Begin(6);
  EXPECT_EQ(record_.positions(), 0);
  Commit(1);
  Commit(2);
  EXPECT_EQ(record_.positions(), 0);
  Commit(0);
  EXPECT_EQ(record_.positions(), 3);
  Commit(4);
  EXPECT_EQ(record_.positions(), 3);
  Commit(3);
  EXPECT_EQ(record_.positions(), 5);
}

TEST_F(PublicationRecordTest, WhatIsNotOursIsPassed) {
  record_.Append(0, protocol::kAlreadyThere);
  record_.Append(0, kNoBlock);
  Begin(4);
  EXPECT_EQ(record_.positions(), 1);  // the next one's block is not chosen yet
  Answer(1, PublishAnswer::kNoSpace);
  EXPECT_EQ(record_.positions(), 2);  // position 2 may be ours
  Answer(3, PublishAnswer::kExists);
  Answer(4, PublishAnswer::kVoid);
  Answer(2, PublishAnswer::kInFlight);
  EXPECT_EQ(record_.positions(), 5);
  Answer(5, PublishAnswer::kYours);
  EXPECT_EQ(record_.positions(), 5);
}

// Goal    Once told, a position stays: whatever its begin and its commit are
//         answered.
TEST_F(PublicationRecordTest, AnAnswerTakesNoPositionBack) {
  Begin(2);
  Commit(0);
  Commit(1);
  EXPECT_EQ(record_.positions(), 2);
  Answer(0, PublishAnswer::kYours);
  Answer(0, PublishAnswer::kVoid);
  Answer(1, PublishAnswer::kNoSpace);
  EXPECT_EQ(outcome(0), BlockOutcome::kVoid);
  EXPECT_EQ(record_.positions(), 2);
}

TEST_F(PublicationRecordTest, PositionsWhoseBeginWasNotSentDoNotCount) {
  record_.Append(0, protocol::kAlreadyThere);
  record_.MarkBegun();
  record_.Append(0, protocol::kAlreadyThere);
  Answer(0, PublishAnswer::kExists);
  EXPECT_EQ(record_.positions(), 1);
  record_.Truncate(1, &grants_);
  Begin(1);
  EXPECT_EQ(record_.positions(), 1);
}

TEST_F(PublicationRecordTest, NothingPassesAnAbortedPosition) {
  Begin(5);
  Commit(0);
  EXPECT_TRUE(Abort(2));
  Commit(1);
  Commit(3);
  EXPECT_EQ(record_.positions(), 2);
  Answer(2, PublishAnswer::kExists);  // comes too late
  Commit(4);
  Begin(1);
  Commit(5);
  EXPECT_EQ(record_.positions(), 2);
}

TEST_F(PublicationRecordTest, AbortingWhatIsNotOursStopsNothing) {
  Begin(2);
  Answer(0, PublishAnswer::kExists);
  EXPECT_FALSE(Abort(0));
  Commit(1);
  EXPECT_EQ(record_.positions(), 2);
}

// Goal    A block that the daemon counts as ours and that nobody wrote is not
//         told as done: the daemon would commit it when this process dies.
TEST_F(PublicationRecordTest, ABlockThatNobodyWroteIsNotPassed) {
  Begin(2);
  record_.Answer(0, PublishAnswer::kYours, 9, &grants_);  // not the offered one
  EXPECT_EQ(outcome(0), BlockOutcome::kInFlight);
  Commit(0);
  Commit(1);
  EXPECT_EQ(record_.positions(), 0);
}

TEST_F(PublicationRecordTest, TheEndSaysWhetherAnythingWasLeft) {
  Begin(2);
  Commit(0);
  EXPECT_TRUE(record_.EndAll(&grants_));
  EXPECT_EQ(record_.positions(), 1);
  EXPECT_FALSE(record_.EndAll(&grants_));
}

TEST_F(PublicationRecordTest, AllCommittedLeavesNothing) {
  Begin(3);
  Answer(1, PublishAnswer::kInFlight);
  Commit(0);
  Commit(2);
  EXPECT_FALSE(record_.EndAll(&grants_));
}

TEST_F(PublicationRecordTest, WhatIsVoidIsNotPassed) {
  Begin(3);
  Commit(0);
  record_.MakeVoid();
  EXPECT_EQ(record_.positions(), 1);
  Commit(1);
  EXPECT_EQ(record_.positions(), 1);
}

// --- chunks ---

TEST_F(PublicationRecordTest, AChunkFollowsWhatIsCommitted) {
  Begin(12);
  EXPECT_THAT(record_.TakeChunk(0, 4), IsOkAndHolds(4));
  EXPECT_THAT(record_.TakeChunk(0, 4), IsOkAndHolds(4));
  EXPECT_THAT(record_.TakeChunk(0, 5),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("said to end at 4")));
  EXPECT_THAT(
      record_.TakeChunk(4, 4),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("begins at 0")));
  for (uint32_t p = 0; p < 4; ++p) Commit(p);
  EXPECT_THAT(
      record_.TakeChunk(0, 4),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("begins at 4")));
  EXPECT_THAT(record_.TakeChunk(4, 8), IsOkAndHolds(12));
  // What is left of it may be named alone, its end not changed.
  Commit(4);
  EXPECT_THAT(record_.TakeChunk(5, 7), IsOkAndHolds(12));
  EXPECT_THAT(record_.TakeChunk(5, 6),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Goal    An application need not know which of its blocks others have: a chunk
//         may begin with some, or have nothing else, and answers that come in
//         the middle of one change nothing for it.
TEST_F(PublicationRecordTest, AChunkMayBeginWithWhatIsNotOurs) {
  record_.Append(0, protocol::kAlreadyThere);
  record_.Append(0, protocol::kAlreadyThere);
  Begin(8);
  EXPECT_EQ(record_.positions(), 2);
  EXPECT_THAT(record_.TakeChunk(0, 2), IsOkAndHolds(2));  // nothing to tell
  EXPECT_THAT(record_.TakeChunk(0, 6), IsOkAndHolds(6));
  Answer(2, PublishAnswer::kExists);
  EXPECT_EQ(record_.positions(), 3);
  EXPECT_THAT(record_.TakeChunk(0, 6), IsOkAndHolds(6));
  for (uint32_t p = 3; p < 8; ++p) Answer(p, PublishAnswer::kInFlight);
  EXPECT_EQ(record_.positions(), 8);
  EXPECT_THAT(record_.TakeChunk(0, 6), IsOkAndHolds(8));  // all passed
  for (uint32_t p = 0; p < 6; ++p) Commit(p);
  EXPECT_THAT(record_.TakeChunk(6, 4), IsOkAndHolds(10));
}

TEST_F(PublicationRecordTest, NoChunkIsToldBeyondWhatWasGivenUp) {
  Begin(8);
  Abort(5);
  EXPECT_THAT(record_.TakeChunk(0, 8), IsOkAndHolds(5));
  for (uint32_t p = 0; p < 8; ++p) Commit(p);
  EXPECT_EQ(record_.positions(), 5);
  Begin(4);
  EXPECT_THAT(record_.TakeChunk(8, 4), IsOkAndHolds(5));
}

}  // namespace
}  // namespace kvferry::sdk
