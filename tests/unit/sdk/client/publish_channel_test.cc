#include "sdk/publish_channel.h"

#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "protocol/limits.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::SubmitRecord;
using protocol::SubmitType;
using test::FakeNamespace;
using test::IsOk;
using test::IsOkAndHolds;
using test::NumberedKey;
using test::StatusIs;

std::vector<BlockKey> Keys(uint64_t first, uint64_t count) {
  std::vector<BlockKey> keys;
  for (uint64_t n = first; n < first + count; ++n) {
    keys.push_back(NumberedKey(n));
  }
  return keys;
}

bool Is(const SubmitRecord& record, SubmitType type) {
  return record.type == static_cast<uint8_t>(type);
}

class PublishChannelTest : public testing::Test {
 protected:
  PublicationRecord* Open(uint64_t slices = 3) {
    auto record = channel_.Open(Request(slices), Soon());
    EXPECT_THAT(record, IsOk());
    return *record;
  }
  static PublishChannel::OpenRequest Request(uint64_t slices) {
    return {.engine_instance = 1, .publication = 2, .slice_set = slices};
  }
  static absl::Time Soon() { return absl::Now() + absl::Milliseconds(50); }
  static absl::Time Later() { return absl::Now() + absl::Seconds(20); }

  FakeNamespace fake_{
      {{.block_count = 8192, .blocks_per_segment = 8192, .slice_count = 2}}};
  PublishChannel& channel_ = fake_.attachment().channel();
};

TEST_F(PublishChannelTest, OffersGrantedBlocksWithoutWaiting) {
  fake_.Grant(0, {10, 11, 12});
  PublicationRecord* record = Open();
  const std::vector<BlockKey> keys = Keys(0, 3);
  const std::vector<uint8_t> ready = {0, 1, 0};

  ASSERT_THAT(
      channel_.Begin(record, 0, NumberedKey(77), keys, 0, ready, Soon()),
      IsOkAndHolds(0));

  EXPECT_EQ(channel_.Look(record, 0).outcome, BlockOutcome::kWriting);
  EXPECT_EQ(channel_.Look(record, 1).outcome, BlockOutcome::kExists);
  EXPECT_EQ(channel_.Look(record, 2).outcome, BlockOutcome::kWriting);
  EXPECT_EQ(channel_.granted(0), 1);
  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  ASSERT_EQ(sent.size(), 5);
  EXPECT_TRUE(Is(sent[0], SubmitType::kOpen));
  EXPECT_EQ(sent[0].open.slice_set, 3);
  EXPECT_TRUE(Is(sent[1], SubmitType::kBegin));
  EXPECT_EQ(sent[1].begin.first, 0);
  EXPECT_EQ(sent[1].begin.count, 3);
  EXPECT_EQ(sent[1].begin.parent_lo, NumberedKey(77).lo);
  EXPECT_TRUE(Is(sent[2], SubmitType::kBeginBlock));
  EXPECT_EQ(sent[2].begin_block.block, 12);
  EXPECT_EQ(sent[3].begin_block.block, protocol::kAlreadyThere);
  EXPECT_EQ(sent[4].begin_block.block, 11);
  EXPECT_EQ(sent[4].begin_block.key_hi, keys[2].hi);
}

TEST_F(PublishChannelTest, AnOpenSaysWhatItsPublicationWants) {
  PublishChannel::OpenRequest request = Request(3);
  request.stall_ms = 1500;
  ASSERT_THAT(channel_.Open(request, Soon()), IsOk());
  request.standby = true;
  ASSERT_THAT(channel_.Open(request, Soon()), IsOk());
  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  ASSERT_EQ(sent.size(), 2);
  EXPECT_EQ(sent[0].open.engine_instance, 1);
  EXPECT_EQ(sent[0].open.publication, 2);
  EXPECT_EQ(sent[0].open.slice_set, 3);
  EXPECT_EQ(sent[0].open.stall_ms, 1500);
  EXPECT_EQ(sent[0].open.flags, 0);
  EXPECT_EQ(sent[1].open.flags, protocol::kOpenStandby);
}

TEST_F(PublishChannelTest, ATailIsToldWithTheLastBlockOfABegin) {
  std::vector<uint32_t> blocks(1100);
  for (uint32_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  fake_.Grant(0, blocks);
  PublicationRecord* record = Open();
  const std::vector<BlockKey> keys = Keys(0, 1030);

  ASSERT_THAT(channel_.Begin(record, 0, {}, keys, 5, {}, Soon()), IsOk());

  uint32_t blocks_seen = 0;
  for (const SubmitRecord& line : fake_.TakeSubmissions()) {
    if (!Is(line, SubmitType::kBeginBlock)) continue;
    ++blocks_seen;
    EXPECT_EQ(line.begin_block.valid_tokens, blocks_seen == 1030 ? 5 : 0);
  }
  EXPECT_EQ(blocks_seen, 1030);

  EXPECT_THAT(
      channel_.Begin(record, 0, keys.back(), Keys(2000, 1), 0, {}, Soon()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               testing::HasSubstr(ToHex(keys.back()))));
  EXPECT_EQ(record->size(), 1030);
  // What the tail continues may be continued otherwise, by another tail too.
  ASSERT_THAT(
      channel_.Begin(record, 0, keys[1028], Keys(2000, 1), 7, {}, Soon()),
      IsOkAndHolds(1030));
  EXPECT_THAT(channel_.Begin(record, 0, NumberedKey(2000), Keys(2001, 1), 0, {},
                             Soon()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PublishChannelTest, LongBeginsGoInRunsChainedByTheirParents) {
  std::vector<uint32_t> blocks(3000);
  for (uint32_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  fake_.Grant(0, blocks);
  PublicationRecord* record = Open();
  const std::vector<BlockKey> keys = Keys(0, 2500);

  ASSERT_THAT(channel_.Begin(record, 0, {}, keys, 0, {}, Soon()),
              IsOkAndHolds(0));

  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  uint32_t expected = 0;
  for (size_t i = 1; i < sent.size(); i += 1 + sent[i].begin.count) {
    ASSERT_TRUE(Is(sent[i], SubmitType::kBegin));
    EXPECT_EQ(sent[i].begin.first, expected);
    ASSERT_LE(sent[i].begin.count, protocol::kBlocksPerRunMax);
    const BlockKey parent = expected == 0 ? BlockKey{} : keys[expected - 1];
    EXPECT_EQ(sent[i].begin.parent_lo, parent.lo);
    EXPECT_EQ(sent[i].begin.parent_hi, parent.hi);
    expected += sent[i].begin.count;
  }
  EXPECT_EQ(expected, 2500);

  // Commits travel in ranges of at most a run.
  ASSERT_THAT(channel_.Commit(record, 0, 2500), IsOk());
  const std::vector<SubmitRecord> commits = fake_.TakeSubmissions();
  ASSERT_EQ(commits.size(), 3);
  EXPECT_EQ(commits[2].range.first, 2048);
  EXPECT_EQ(commits[2].range.count, 452);
}

TEST_F(PublishChannelTest, ARankOfSeveralAsksForEveryBlockAndWaits) {
  fake_.Grant(0, {10, 11});
  PublicationRecord* record = Open(/*slices=*/1);
  EXPECT_THAT(channel_.Begin(record, 0, {}, Keys(0, 1), 0, {}, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  // The publication is void: it was closed, and takes nothing more.
  EXPECT_THAT(channel_.Begin(record, 0, {}, Keys(1, 1), 0, {}, Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  ASSERT_EQ(sent.size(), 4);
  EXPECT_EQ(sent[2].begin_block.block, kNoBlock);
  EXPECT_TRUE(Is(sent[3], SubmitType::kClose));
  EXPECT_EQ(channel_.granted(0), 2);

  PublicationRecord* next = Open(/*slices=*/2);
  std::thread daemon([this, next] {
    uint64_t seen = 0;
    while (seen < 3) seen += fake_.TakeSubmissions().size();
    protocol::ReplyRecord reply{};
    reply.type = static_cast<uint8_t>(protocol::ReplyType::kAnswerBlocks);
    reply.answer = static_cast<uint8_t>(PublishAnswer::kYours);
    reply.handle = next->handle();
    reply.count = 1;
    reply.blocks[0] = 99;
    fake_.Reply(reply);
  });
  EXPECT_THAT(channel_.Begin(next, 0, {}, Keys(0, 1), 0, {}, Later()),
              IsOkAndHolds(0));
  daemon.join();
  EXPECT_EQ(channel_.Look(next, 0).outcome, BlockOutcome::kWriting);
  EXPECT_EQ(channel_.Look(next, 0).block, 99);
}

TEST_F(PublishChannelTest, CommitsSkipWhatIsNotOursAndAreAnswered) {
  fake_.Grant(0, {1, 2, 3, 4, 5});
  PublicationRecord* record = Open();
  ASSERT_THAT(channel_.Begin(record, 0, {}, Keys(0, 5), 0, {}, Soon()), IsOk());
  fake_.TakeSubmissions();
  fake_.Answer(record->handle(), PublishAnswer::kYours, 0, 2);
  fake_.Answer(record->handle(), PublishAnswer::kInFlight, 2, 1);
  fake_.Answer(record->handle(), PublishAnswer::kYours, 3, 2);

  ASSERT_THAT(channel_.Commit(record, 0, 5), IsOk());
  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  ASSERT_EQ(sent.size(), 2);
  EXPECT_EQ(sent[0].range.first, 0);
  EXPECT_EQ(sent[0].range.count, 2);
  EXPECT_EQ(sent[1].range.first, 3);
  EXPECT_EQ(sent[1].range.count, 2);
  EXPECT_EQ(channel_.granted(0), 1);  // the one of position 2

  EXPECT_THAT(channel_.WaitForAnswers(record, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  fake_.Answer(record->handle(), PublishAnswer::kCommitted, 0, 2);
  fake_.Answer(record->handle(), PublishAnswer::kVoid, 3, 2);
  EXPECT_THAT(channel_.WaitForAnswers(record, Soon()), IsOk());
  EXPECT_EQ(channel_.CountVisible(record, 0, 5), 2);
  EXPECT_EQ(channel_.Look(record, 3).outcome, BlockOutcome::kVoid);
}

TEST_F(PublishChannelTest, GivesRecalledBlocksBack) {
  std::vector<uint32_t> blocks(20);
  for (uint32_t i = 0; i < 20; ++i) blocks[i] = 100 + i;
  fake_.Grant(0, blocks);
  EXPECT_EQ(channel_.granted(0), 20);
  protocol::ReplyRecord recall{};
  recall.type = static_cast<uint8_t>(protocol::ReplyType::kRecall);
  recall.count = 15;
  fake_.Reply(recall);

  channel_.Service();

  EXPECT_EQ(channel_.granted(0), 5);
  uint32_t returned = 0;
  for (const SubmitRecord& record : fake_.TakeSubmissions()) {
    ASSERT_TRUE(Is(record, SubmitType::kReturn));
    returned += record.give_back.count;
  }
  EXPECT_EQ(returned, 15);
}

TEST_F(PublishChannelTest, GrantsOutsideTheGroupAreIgnored) {
  fake_.Grant(0, {8191, 8192, kNoBlock});
  EXPECT_EQ(channel_.granted(0), 1);
}

// Goal    A ring that the daemon does not read stops a begin at its deadline
//         and commits, closes not at all; later all of it arrives, in order.
TEST_F(PublishChannelTest, AFullRingDelaysAndLosesNothing) {
  std::vector<uint32_t> blocks(5000);
  for (uint32_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  fake_.Grant(0, blocks);
  PublicationRecord* record = Open();
  ASSERT_THAT(channel_.Begin(record, 0, {}, Keys(0, 3500), 0, {}, Soon()),
              IsOk());
  EXPECT_THAT(channel_.Begin(record, 0, {}, Keys(3500, 1000), 0, {}, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(channel_.granted(0), 1500);  // nothing of the second was begun
  EXPECT_EQ(record->size(), 3500);

  for (uint32_t p = 0; p < 1000; ++p) {
    ASSERT_THAT(channel_.Commit(record, p * 2, 1), IsOk());
  }
  channel_.Close(record);
  EXPECT_TRUE(channel_.NeedsService());

  std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  channel_.Service();
  for (const SubmitRecord& late : fake_.TakeSubmissions()) {
    sent.push_back(late);
  }
  EXPECT_FALSE(channel_.NeedsService());
  uint32_t commits = 0;
  for (const SubmitRecord& one : sent) {
    if (!Is(one, SubmitType::kCommit)) continue;
    EXPECT_EQ(one.range.first, commits * 2);
    ++commits;
  }
  EXPECT_EQ(commits, 1000);
  EXPECT_TRUE(Is(sent.back(), SubmitType::kClose));
}

TEST_F(PublishChannelTest, ACloseReturnsBlocksThatWereNotTaken) {
  fake_.Grant(0, {1, 2});
  PublicationRecord* record = Open();
  ASSERT_THAT(channel_.Begin(record, 0, {}, Keys(0, 2), 0, {}, Soon()), IsOk());
  const uint32_t handle = record->handle();
  channel_.Abandon(record);
  EXPECT_EQ(channel_.granted(0), 0);
  fake_.TakeSubmissions();
  fake_.Answer(handle, PublishAnswer::kYours, 0, 1);
  fake_.Answer(handle, PublishAnswer::kExists, 1, 1);
  EXPECT_EQ(channel_.granted(0), 1);
  // The record is gone now: an answer to it changes nothing.
  fake_.Answer(handle, PublishAnswer::kExists, 1, 1);
  EXPECT_EQ(channel_.granted(0), 1);
}

TEST_F(PublishChannelTest, VoidWakesWhoWaitsAndAnswersUnavailable) {
  fake_.Grant(0, {1});
  PublicationRecord* writing = Open();
  ASSERT_THAT(channel_.Begin(writing, 0, {}, Keys(0, 1), 0, {}, Soon()),
              IsOk());
  ASSERT_THAT(channel_.Commit(writing, 0, 1), IsOk());
  std::thread waiter([this, writing] {
    EXPECT_THAT(channel_.WaitForAnswers(writing, Later()),
                StatusIs(absl::StatusCode::kUnavailable));
  });
  // It raises this word before it sleeps.
  while (fake_.memory().client->reply_waiters.load() == 0) {
    std::this_thread::yield();
  }
  channel_.MakeVoid();
  waiter.join();

  EXPECT_EQ(channel_.Look(writing, 0).outcome, BlockOutcome::kVoid);
  EXPECT_THAT(channel_.Open(Request(3), Soon()),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(channel_.Begin(writing, 0, {}, Keys(1, 1), 0, {}, Soon()),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(channel_.Commit(writing, 0, 1),
              StatusIs(absl::StatusCode::kUnavailable));
  channel_.Abandon(writing);
}

TEST_F(PublishChannelTest, RefusesMoreThanTheDaemonWouldTake) {
  PublicationRecord* first = Open();
  const std::vector<BlockKey> keys = Keys(0, 16384);
  EXPECT_THAT(channel_.Open(Request(3), Soon()), IsOk());
  std::thread daemon([this] {
    uint64_t runs = 0;
    uint64_t seen = 0;
    while (seen < 4 * 16384) {
      for (const SubmitRecord& record : fake_.TakeSubmissions()) {
        if (Is(record, SubmitType::kBeginBlock)) ++seen;
        if (!Is(record, SubmitType::kBegin)) continue;
        ++runs;
        fake_.Answer(record.handle, PublishAnswer::kNoSpace, record.begin.first,
                     record.begin.count);
      }
    }
    EXPECT_EQ(runs, 64);
  });
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(channel_.Begin(first, 0, {}, keys, 0, {}, Later()),
                IsOkAndHolds(i * 16384));
  }
  daemon.join();
  EXPECT_THAT(channel_.Begin(first, 0, {}, Keys(0, 1), 0, {}, Soon()),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       testing::HasSubstr("65536")));
}

}  // namespace
}  // namespace kvferry::sdk
