#include "sdk/publication_record.h"

#include <gtest/gtest.h>

#include "sdk/grant_pool.h"

namespace kvferry::sdk {
namespace {

using protocol::kNoBlock;
using protocol::PublishAnswer;

class PublicationRecordTest : public testing::Test {
 protected:
  BlockOutcome outcome(uint32_t position) {
    return record_.entry(position).outcome;
  }
  uint32_t granted() { return grants_.count(0); }

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

}  // namespace
}  // namespace kvferry::sdk
