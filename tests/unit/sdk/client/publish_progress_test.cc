// Goal    What a publisher tells of its progress, and when.
// Method  A channel over memory of the test's own, which answers as a daemon
//         would, and reads the session's progress file as a reader would.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "protocol/limits.h"
#include "sdk/publish_channel.h"
#include "sdk/stream_state.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using protocol::Progress;
using protocol::PublishAnswer;
using test::FakeNamespace;
using test::IsOk;
using test::IsOkAndHolds;
using test::NumberedKey;
using test::StatusIs;
using testing::HasSubstr;

class PublishProgressTest : public testing::Test {
 protected:
  static constexpr uint32_t kSlot = 5;
  static constexpr uint32_t kGeneration = 77;
  static constexpr uint32_t kRecord = 3;

  PublishProgressTest() {
    std::vector<uint32_t> blocks(kBlocks);
    for (uint32_t i = 0; i < kBlocks; ++i) blocks[i] = i;
    fake_.Grant(0, blocks);
  }
  static absl::Time Soon() { return absl::Now() + absl::Milliseconds(50); }

  PublicationRecord* Open() {
    const auto record = channel_.Open(
        {.engine_instance = 1, .publication = ++publications_, .slice_set = 1},
        Soon());
    EXPECT_THAT(record, IsOk());
    return *record;
  }
  // The same, and the daemon has answered.
  PublicationRecord* OpenFollowed() {
    PublicationRecord* const record = Open();
    fake_.Opened(record->handle(), kSlot, kGeneration, kRecord);
    channel_.Service();
    return record;
  }
  // Begins blocks that are granted, for keys from `next_key_` on.
  void Begin(PublicationRecord* record, uint32_t count) {
    std::vector<BlockKey> keys;
    for (uint32_t i = 0; i < count; ++i) {
      keys.push_back(NumberedKey(next_key_++));
    }
    ASSERT_THAT(channel_.Begin(record, 0, {}, keys, 0, {}, Soon()), IsOk());
  }
  Progress word() { return fake_.progress_word(kRecord); }
  uint32_t given_up() { return fake_.progress(kRecord).given_up.load(); }
  uint32_t changes() { return fake_.progress(kRecord).changes.load(); }

  static constexpr uint32_t kBlocks = 64;
  FakeNamespace fake_{{{.block_count = kBlocks}}};
  PublishChannel& channel_ = fake_.attachment().channel();
  uint64_t publications_ = 0;
  uint64_t next_key_ = 0;
};

TEST_F(PublishProgressTest, ACommitInOrderIsToldBeforeTheDaemonKnows) {
  PublicationRecord* record = OpenFollowed();
  EXPECT_EQ(word(), (Progress{kGeneration, 0, 0}));
  Begin(record, 8);
  fake_.TakeSubmissions();
  EXPECT_EQ(word(), (Progress{kGeneration, 0, 0}));
  const uint32_t before = changes();

  ASSERT_THAT(channel_.Commit(record, 0, 4), IsOk());

  EXPECT_EQ(word(), (Progress{kGeneration, 4, 0}));
  EXPECT_EQ(changes(), before + 1);
  EXPECT_EQ(fake_.TakeSubmissions().size(), 1);
}

TEST_F(PublishProgressTest, CommitsThatCameBeforeTheAnswerAreToldByIt) {
  PublicationRecord* record = Open();
  Begin(record, 8);
  ASSERT_THAT(channel_.Commit(record, 0, 3), IsOk());
  ASSERT_THAT(channel_.CommitLayers(record, 3, 5, 2), IsOk());
  EXPECT_EQ(fake_.progress(kRecord).word.load(), 0);

  fake_.Opened(record->handle(), kSlot, kGeneration, kRecord);
  channel_.Service();

  EXPECT_EQ(word(), (Progress{kGeneration, 3, 2}));
  EXPECT_EQ(fake_.progress(kRecord).chunk_end.load(), 8);
  EXPECT_EQ(given_up(), 0);
}

TEST_F(PublishProgressTest, ACommitOutOfOrderIsToldWhenTheRestIsThere) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 12);
  const uint32_t before = changes();
  ASSERT_THAT(channel_.Commit(record, 4, 4), IsOk());
  EXPECT_EQ(word().positions, 0);
  EXPECT_EQ(changes(), before);
  ASSERT_THAT(channel_.Commit(record, 0, 4), IsOk());
  EXPECT_EQ(word().positions, 8);
}

TEST_F(PublishProgressTest, AnAnswerThatLeavesAPositionToOthersIsTold) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 8);
  fake_.Answer(record->handle(), PublishAnswer::kInFlight, 0, 3);
  fake_.Answer(record->handle(), PublishAnswer::kYours, 3, 5);
  channel_.Service();
  EXPECT_EQ(word().positions, 3);

  // The begin that finds blocks there says so at once.
  const std::vector<BlockKey> keys = {NumberedKey(900)};
  ASSERT_THAT(channel_.Commit(record, 3, 5), IsOk());
  ASSERT_THAT(
      channel_.Begin(record, 0, {}, keys, 0, std::vector<uint8_t>{1}, Soon()),
      IsOkAndHolds(8));
  EXPECT_EQ(word().positions, 9);
}

TEST_F(PublishProgressTest, WhatTheDaemonGaveUpIsNotTakenBack) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 0, 4), IsOk());
  fake_.Answer(record->handle(), PublishAnswer::kYours, 0, 4);
  fake_.Answer(record->handle(), PublishAnswer::kVoid, 0, 4);
  EXPECT_EQ(channel_.Look(record, 0).outcome, BlockOutcome::kVoid);
  EXPECT_EQ(word(), (Progress{kGeneration, 4, 0}));
  EXPECT_EQ(given_up(), 0);
}

TEST_F(PublishProgressTest, StandbysAreToldAsTheyAreCommitted) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 2);
  fake_.Answer(record->handle(), PublishAnswer::kStandby, 0, 2);
  EXPECT_EQ(channel_.Look(record, 0).outcome, BlockOutcome::kStandby);
  EXPECT_EQ(word().positions, 0);
  ASSERT_THAT(channel_.Commit(record, 0, 2), IsOk());
  EXPECT_EQ(word().positions, 2);
  fake_.Answer(record->handle(), PublishAnswer::kCommitted, 0, 1);
  fake_.Answer(record->handle(), PublishAnswer::kExists, 1, 1);
  EXPECT_THAT(channel_.WaitForAnswers(record, Soon()), IsOk());
  EXPECT_EQ(channel_.Look(record, 0).outcome, BlockOutcome::kCommitted);
  EXPECT_EQ(channel_.Look(record, 1).outcome, BlockOutcome::kExists);
}

// --- layers ---

TEST_F(PublishProgressTest, LayersAreToldWithoutAMessage) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 8);
  fake_.TakeSubmissions();
  for (uint32_t layers = 1; layers <= 80; ++layers) {
    const uint32_t before = changes();
    ASSERT_THAT(channel_.CommitLayers(record, 0, 4, layers), IsOk());
    EXPECT_EQ(word(), (Progress{kGeneration, 0, layers}));
    EXPECT_EQ(changes(), before + 1);
  }
  EXPECT_EQ(fake_.progress(kRecord).chunk_end.load(), 4);
  EXPECT_TRUE(fake_.TakeSubmissions().empty());

  ASSERT_THAT(channel_.Commit(record, 0, 4), IsOk());
  EXPECT_EQ(word(), (Progress{kGeneration, 4, 0}));
  ASSERT_THAT(channel_.CommitLayers(record, 4, 4, 1), IsOk());
  EXPECT_EQ(word(), (Progress{kGeneration, 4, 1}));
  EXPECT_EQ(fake_.progress(kRecord).chunk_end.load(), 8);
}

TEST_F(PublishProgressTest, LayersOfAnotherChunkAreRefused) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 12);
  ASSERT_THAT(channel_.CommitLayers(record, 0, 4, 1), IsOk());
  const uint32_t before = changes();
  EXPECT_THAT(channel_.CommitLayers(record, 0, 8, 2),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4")));
  EXPECT_THAT(channel_.CommitLayers(record, 4, 4, 1),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(word(), (Progress{kGeneration, 0, 1}));
  EXPECT_EQ(changes(), before);

  channel_.Close(record);
  EXPECT_THAT(channel_.CommitLayers(record, 0, 4, 2),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(PublishProgressTest, WithoutAFollowerLayersCostNothing) {
  PublicationRecord* record = Open();
  fake_.Opened(record->handle(), 0, /*generation=*/0, 0);
  channel_.Service();
  Begin(record, 4);
  EXPECT_THAT(channel_.CommitLayers(record, 0, 4, 1), IsOk());
  EXPECT_THAT(channel_.Commit(record, 0, 4), IsOk());
  EXPECT_EQ(fake_.progress(0).changes.load(), 0);
}

TEST_F(PublishProgressTest, ARecordThatIsNoneIsNotWritten) {
  PublicationRecord* record = Open();
  fake_.Opened(record->handle(), kSlot, kGeneration,
               protocol::kProgressRecords);
  Begin(record, 1);
  ASSERT_THAT(channel_.Commit(record, 0, 1), IsOk());
  EXPECT_FALSE(record->progress.open());
  EXPECT_EQ(fake_.progress(protocol::kProgressRecords).word.load(), 0);
}

// --- giving up ---

TEST_F(PublishProgressTest, AnAbortGivesUp) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 8);
  ASSERT_THAT(channel_.Commit(record, 0, 4), IsOk());
  channel_.Abort(record);
  EXPECT_EQ(given_up(), kGeneration);
  EXPECT_EQ(word(), (Progress{kGeneration, 4, 0}));
  // Nothing that comes later passes what was aborted.
  ASSERT_THAT(channel_.Commit(record, 4, 4), IsOk());
  EXPECT_EQ(word().positions, 4);
}

// Goal    What is begun after an abort is not taken for given up: it comes by
//         the index, since the word stays where it is.
TEST_F(PublishProgressTest, AppendingGoesOnAfterAnAbort) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 0, 2), IsOk());
  channel_.Abort(record);
  Begin(record, 2);
  EXPECT_EQ(given_up(), 0);
  EXPECT_EQ(channel_.Look(record, 4).outcome, BlockOutcome::kWriting);
  EXPECT_THAT(channel_.CommitLayers(record, 4, 2, 1), IsOk());
  ASSERT_THAT(channel_.Commit(record, 4, 2), IsOk());
  EXPECT_EQ(word(), (Progress{kGeneration, 2, 0}));
  channel_.Close(record);
  EXPECT_EQ(given_up(), 0);
}

TEST_F(PublishProgressTest, AnAbortOfNothingGivesNothingUp) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 0, 4), IsOk());
  channel_.Abort(record);
  EXPECT_EQ(given_up(), 0);
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 4, 4), IsOk());
  EXPECT_EQ(word().positions, 8);
}

TEST_F(PublishProgressTest, OneAbortedPositionStopsTheWordAlone) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 8);
  channel_.AbortOne(record, 2);
  EXPECT_EQ(given_up(), 0);
  ASSERT_THAT(channel_.CommitLayers(record, 0, 8, 3), IsOk());
  EXPECT_EQ(fake_.progress(kRecord).chunk_end.load(), 2);
  ASSERT_THAT(channel_.Commit(record, 0, 8), IsOk());
  EXPECT_EQ(word(), (Progress{kGeneration, 2, 0}));
  // The others are committed by the ring.
  channel_.Close(record);
  EXPECT_EQ(given_up(), 0);
}

TEST_F(PublishProgressTest, AnAbortBeforeTheAnswerIsToldByIt) {
  PublicationRecord* record = Open();
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 0, 1), IsOk());
  channel_.Abort(record);
  fake_.Opened(record->handle(), kSlot, kGeneration, kRecord);
  channel_.Service();
  EXPECT_EQ(word(), (Progress{kGeneration, 1, 0}));
  EXPECT_EQ(given_up(), kGeneration);
}

TEST_F(PublishProgressTest, ACloseOfAllThatWasBegunGivesNothingUp) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 0, 4), IsOk());
  channel_.Close(record);
  EXPECT_EQ(given_up(), 0);
  EXPECT_EQ(word(), (Progress{kGeneration, 4, 0}));
}

TEST_F(PublishProgressTest, ACloseWithUncommittedBlocksGivesUp) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 0, 3), IsOk());
  channel_.Close(record);
  EXPECT_EQ(given_up(), kGeneration);
  EXPECT_EQ(word().positions, 3);
}

TEST_F(PublishProgressTest, AnAbandonedPublicationGivesUp) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  channel_.Abandon(record);
  EXPECT_EQ(given_up(), kGeneration);
}

TEST_F(PublishProgressTest, ABeginThatTheDaemonDoesNotAnswerGivesUp) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, kBlocks);
  const std::vector<BlockKey> keys = {NumberedKey(900)};  // no block is left
  EXPECT_THAT(channel_.Begin(record, 0, {}, keys, 0, {}, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(given_up(), kGeneration);
}

TEST_F(PublishProgressTest, LosingTheDaemonGivesUpWhatIsOpen) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  ASSERT_THAT(channel_.Commit(record, 0, 2), IsOk());
  channel_.MakeVoid();
  EXPECT_EQ(given_up(), kGeneration);
  EXPECT_EQ(word(), (Progress{kGeneration, 2, 0}));
  EXPECT_THAT(channel_.CommitLayers(record, 2, 2, 1),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(channel_.SetHandOver(record, "late", Soon()),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(channel_.WaitForOpen(record, Soon()),
              StatusIs(absl::StatusCode::kUnavailable));
  channel_.Abandon(record);
  EXPECT_EQ(word(), (Progress{kGeneration, 2, 0}));
}

TEST_F(PublishProgressTest, LosingTheDaemonLeavesClosedPublicationsAlone) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 2);
  ASSERT_THAT(channel_.Commit(record, 0, 2), IsOk());
  channel_.Close(record);
  channel_.MakeVoid();
  EXPECT_EQ(given_up(), 0);
  channel_.Abandon(record);
}

// --- reuse ---

// Goal    A handle that is closed writes nothing into its record, which is
//         another one's by then.
TEST_F(PublishProgressTest, ARecordGoesFromOneHandleToTheNext) {
  PublicationRecord* first = OpenFollowed();
  Begin(first, 4);
  ASSERT_THAT(channel_.CommitLayers(first, 0, 4, 9), IsOk());
  ASSERT_THAT(channel_.SetHandOver(first, "of the first", Soon()), IsOk());
  ASSERT_THAT(channel_.Commit(first, 0, 2), IsOk());
  const uint32_t first_handle = first->handle();
  channel_.Close(first);
  EXPECT_EQ(given_up(), kGeneration);
  EXPECT_EQ(fake_.hand_over(kRecord), "of the first");  // the daemon's to keep

  PublicationRecord* second = Open();
  fake_.Opened(second->handle(), kSlot + 1, kGeneration + 1, kRecord);
  channel_.Service();
  EXPECT_EQ(word(), (Progress{kGeneration + 1, 0, 0}));
  EXPECT_EQ(given_up(), 0);
  EXPECT_EQ(fake_.hand_over(kRecord), "");
  EXPECT_EQ(fake_.progress(kRecord).chunk_end.load(), 0);

  fake_.Answer(first_handle, PublishAnswer::kInFlight, 0, 4);
  channel_.Service();
  channel_.Abandon(first);
  EXPECT_EQ(word(), (Progress{kGeneration + 1, 0, 0}));
  EXPECT_EQ(given_up(), 0);
}

TEST_F(PublishProgressTest, AnAnswerToAClosedHandleOpensNothing) {
  PublicationRecord* record = Open();
  Begin(record, 2);
  ASSERT_THAT(channel_.Commit(record, 0, 2), IsOk());
  channel_.Close(record);
  fake_.Opened(record->handle(), kSlot, kGeneration, kRecord);
  channel_.Service();
  EXPECT_EQ(fake_.progress(kRecord).word.load(), 0);
  EXPECT_THAT(channel_.WaitForOpen(record, Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

// --- hand-over data ---

TEST_F(PublishProgressTest, TheLastHandOverIsThereWithTheNextCommit) {
  PublicationRecord* record = OpenFollowed();
  Begin(record, 2);
  const std::string longest(protocol::kHandOverBytesMax, 'h');
  ASSERT_THAT(channel_.SetHandOver(record, longest, Soon()), IsOk());
  ASSERT_THAT(channel_.SetHandOver(record, "token 17", Soon()), IsOk());
  ASSERT_THAT(channel_.Commit(record, 0, 2), IsOk());
  EXPECT_EQ(fake_.hand_over(kRecord), "token 17");
  EXPECT_EQ(word(), (Progress{kGeneration, 2, 0}));
  channel_.Close(record);
  EXPECT_THAT(channel_.SetHandOver(record, "late", Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(fake_.hand_over(kRecord), "token 17");
}

TEST_F(PublishProgressTest, AHandOverWaitsForTheDaemonsAnswer) {
  PublicationRecord* record = Open();
  EXPECT_THAT(channel_.SetHandOver(record, "data", Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(channel_.WaitForOpen(record, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  fake_.Opened(record->handle(), kSlot, kGeneration, kRecord);
  EXPECT_THAT(channel_.SetHandOver(record, "data", Soon()), IsOk());
  EXPECT_THAT(channel_.WaitForOpen(record, Soon()), IsOk());
  EXPECT_EQ(fake_.hand_over(kRecord), "data");
  EXPECT_EQ(word(), (Progress{kGeneration, 0, 0}));
}

TEST_F(PublishProgressTest, WhatCannotBeFollowedCarriesNoHandOver) {
  PublicationRecord* record = Open();
  fake_.Opened(record->handle(), 0, /*generation=*/0, 0);
  EXPECT_THAT(channel_.SetHandOver(record, "data", Soon()),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("4096 in a namespace")));
  EXPECT_THAT(channel_.WaitForOpen(record, Soon()), IsOk());
}

// --- with a reader ---

// Goal    What the publisher tells is what a stream understands.
// Method  The session follows itself: its own file is entered as file 9.
TEST_F(PublishProgressTest, AStreamFollowsIt) {
  fake_.SetLayers(0, 4);
  const auto attachment =
      std::make_shared<Attachment>(fake_.memory(), Attachment::Options{});
  ASSERT_THAT(attachment->segments().AddMemory(0, 0, kBlocks, fake_.Page(0, 0),
                                               /*writable=*/true),
              IsOk());
  attachment->progress_files().Enter(9, fake_.memory().progress);
  fake_.OpenPublication(kSlot, kGeneration, {.file = 9, .record = kRecord});
  PublicationRecord* record = OpenFollowed();
  Begin(record, 4);
  std::vector<BlockKey> keys;
  for (uint32_t p = 0; p < 4; ++p) {
    keys.push_back(NumberedKey(p));
    fake_.PutPending(keys[p], record->entry(p).block,
                     {.generation = kGeneration, .position = p, .slot = kSlot});
  }
  StreamState stream;
  ASSERT_THAT(
      stream.Start(attachment, std::make_shared<StreamWatcher>(), keys, {}),
      IsOk());
  EXPECT_EQ(stream.block_count(), 4);
  EXPECT_EQ(stream.ok_blocks(), 0);

  ASSERT_THAT(channel_.CommitLayers(record, 0, 2, 3), IsOk());
  EXPECT_TRUE(stream.Poll());
  EXPECT_EQ(stream.layered_end(), 2);
  EXPECT_EQ(stream.ok_layers(), 3);
  ASSERT_THAT(channel_.Commit(record, 0, 2), IsOk());
  EXPECT_TRUE(stream.Poll());
  EXPECT_EQ(stream.ok_blocks(), 2);
  ASSERT_THAT(channel_.SetHandOver(record, "token 17", Soon()), IsOk());
  ASSERT_THAT(channel_.Commit(record, 2, 1), IsOk());
  EXPECT_TRUE(stream.Poll());
  EXPECT_EQ(stream.ok_blocks(), 3);
  EXPECT_THAT(stream.hand_over(), IsOkAndHolds("token 17"));

  channel_.Abort(record);
  EXPECT_TRUE(stream.Poll());
  EXPECT_TRUE(stream.done());
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(stream.ok_blocks(), 3);
}

}  // namespace
}  // namespace kvferry::sdk
