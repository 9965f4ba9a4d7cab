#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "sdk/publication_state.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using protocol::PublishAnswer;
using protocol::ReplyType;
using protocol::SubmitRecord;
using protocol::SubmitType;
using test::FakeNamespace;
using test::IsOk;
using test::IsOkAndHolds;
using test::NumberedKey;
using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;

bool Is(const SubmitRecord& record, SubmitType type) {
  return record.type == static_cast<uint8_t>(type);
}

std::vector<BlockKey> Keys(uint64_t first, uint64_t count) {
  std::vector<BlockKey> keys;
  for (uint64_t n = first; n < first + count; ++n) {
    keys.push_back(NumberedKey(n));
  }
  return keys;
}

// One group of two slices with 64 host blocks; pool 1 (blocks 64 to 95) is on
// device 0, pool 2 (96 to 127) on device 1.
class GpuPublishTest : public testing::Test {
 protected:
  static constexpr uint32_t kPool = 1;
  static constexpr uint32_t kFirst = 64;
  static constexpr uint32_t kFirstOfOther = 96;

  GpuPublishTest() {
    const absl::Status added = attachment_->segments().AddMemory(
        0, 0, 64, fake_.Page(0, 0), /*writable=*/true);
    EXPECT_THAT(added, IsOk());
  }
  void OpenDevice() {
    auto device = gpu::OpenDevice("emulated:0");
    ASSERT_THAT(device, IsOk());
    fake_.OpenGpu(attachment_.get(), *std::move(device), 0, {kPool});
  }
  static absl::Time Soon() { return absl::Now() + absl::Milliseconds(50); }
  static absl::Time Later() { return absl::Now() + absl::Seconds(20); }
  std::unique_ptr<PublicationState> Open(
      BlockResidence residence = BlockResidence::kGpu,
      uint32_t slice_count = 0) {
    PublicationOptions options;
    options.residence = residence;
    options.slice_count = slice_count;
    auto state = PublicationState::Open(attachment_, options, Soon());
    EXPECT_THAT(state, IsOk());
    handle_ = fake_.TakeSubmissions().at(0).handle;
    return *std::move(state);
  }
  // Of what was submitted since the last call.
  std::vector<SubmitRecord> Sent(SubmitType type) {
    std::vector<SubmitRecord> some;
    for (const SubmitRecord& record : fake_.TakeSubmissions()) {
      if (Is(record, type)) some.push_back(record);
    }
    return some;
  }
  // Begins `count` keys that the daemon has to choose blocks for, which it
  // does: blocks[i] for the i-th.
  void BeginIn(PublicationState* state, const std::vector<uint32_t>& blocks) {
    const uint64_t tail = fake_.submit_tail();
    std::thread daemon([&] {
      while (fake_.submit_tail() == tail) std::this_thread::yield();
      for (uint32_t i = 0; i < blocks.size(); ++i) {
        fake_.AnswerBlock(handle_, PublishAnswer::kYours, i, blocks[i]);
      }
    });
    EXPECT_THAT(state->Begin(0, {}, Keys(0, blocks.size()), 0, Later()),
                IsOkAndHolds(0));
    daemon.join();
  }
  void Recall(uint32_t pool, uint32_t count) {
    protocol::ReplyRecord recall{};
    recall.type = static_cast<uint8_t>(ReplyType::kRecall);
    recall.pool = static_cast<uint8_t>(pool);
    recall.count = count;
    fake_.Reply(recall);
    attachment_->channel().Service();
  }

  FakeNamespace fake_{{{.block_count = 64,
                        .blocks_per_segment = 64,
                        .slice_count = 2,
                        .layer_count = 1,
                        .kv_count = 1,
                        .head_count = 1,
                        .head_bytes = 4}},
                      /*map_segments=*/false,
                      {{.group = 0, .device = 0, .block_count = 32},
                       {.group = 0, .device = 1, .block_count = 32}}};
  std::shared_ptr<Attachment> attachment_ =
      std::make_shared<Attachment>(fake_.memory(), Attachment::Options{});
  PublishChannel& channel_ = attachment_->channel();
  uint32_t handle_ = 0;
};

// --- grants --------------------------------------------------------------

TEST_F(GpuPublishTest, GrantsAreKeptApartByPool) {
  fake_.Grant(0, {1, 2});
  fake_.Grant(0, {kFirst, kFirst + 1, kFirst + 2}, kPool);
  fake_.Grant(0, {kFirstOfOther}, 2);
  EXPECT_EQ(channel_.granted(0), 2);
  EXPECT_EQ(channel_.granted(0, 1), 3);
  EXPECT_EQ(channel_.granted(0, 2), 1);

  Recall(/*pool=*/1, 2);
  const std::vector<SubmitRecord> returned = Sent(SubmitType::kReturn);
  ASSERT_EQ(returned.size(), 1);
  EXPECT_EQ(returned[0].pool, 1);
  EXPECT_EQ(returned[0].give_back.count, 2);
  EXPECT_EQ(returned[0].give_back.blocks[0], kFirst + 2);
  EXPECT_EQ(channel_.granted(0), 2);
  EXPECT_EQ(channel_.granted(0, 1), 1);

  Recall(/*pool=*/0, 9);
  const std::vector<SubmitRecord> hosts = Sent(SubmitType::kReturn);
  ASSERT_EQ(hosts.size(), 1);
  EXPECT_EQ(hosts[0].pool, 0);
  EXPECT_EQ(hosts[0].give_back.count, 2);
}

TEST_F(GpuPublishTest, BlocksThatAreNotThePoolsAreNotTaken) {
  fake_.Grant(0, {1, kFirstOfOther, 500}, kPool);
  fake_.Grant(0, {kFirst, protocol::kNoBlock});
  fake_.Grant(0, {kFirst}, /*pool=*/3);
  Recall(/*pool=*/7, 1);
  EXPECT_EQ(channel_.granted(0), 0);
  EXPECT_EQ(channel_.granted(0, 1), 0);
  EXPECT_EQ(channel_.granted(0, 2), 0);
  EXPECT_THAT(Sent(SubmitType::kReturn), testing::IsEmpty());
}

// --- where blocks are begun ----------------------------------------------

TEST_F(GpuPublishTest, AGrantedBlockOfTheOpenedDeviceIsWrittenWithoutWaiting) {
  OpenDevice();
  fake_.Grant(0, {1});
  fake_.Grant(0, {kFirst + 5}, kPool);
  const auto state = Open();

  ASSERT_THAT(state->Begin(0, {}, Keys(0, 1), 0, Soon()), IsOkAndHolds(0));

  EXPECT_EQ(state->outcome(0), BlockOutcome::kWriting);
  EXPECT_EQ(state->residence(0), BlockResidence::kGpu);
  EXPECT_TRUE(state->page(0, 0).empty());
  EXPECT_EQ(state->Look(0).block, kFirst + 5);
  EXPECT_EQ(state->Look(0).pool, kPool);
  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  ASSERT_EQ(sent.size(), 2);
  EXPECT_EQ(sent[0].pool, kPool);
  EXPECT_EQ(sent[1].begin_block.block, kFirst + 5);

  fake_.Answer(handle_, PublishAnswer::kYours, 0, 1);
  ASSERT_THAT(state->Commit(0, 1), IsOk());
  fake_.Answer(handle_, PublishAnswer::kCommitted, 0, 1);
  EXPECT_EQ(state->outcome(0), BlockOutcome::kCommitted);
  EXPECT_EQ(state->residence(0), BlockResidence::kNone);
  EXPECT_EQ(channel_.granted(0, kPool), 0);
}

TEST_F(GpuPublishTest, ABlockThatSpilledIsTheHosts) {
  OpenDevice();
  const auto state = Open();
  BeginIn(state.get(), {kFirst + 1, 9});

  EXPECT_EQ(state->residence(0), BlockResidence::kGpu);
  EXPECT_EQ(state->residence(1), BlockResidence::kHost);
  EXPECT_EQ(state->page(1, 1).data(), fake_.Page(0, 9, 1));
  EXPECT_EQ(fake_.TakeSubmissions().at(0).pool, kPool);
}

// Goal    Whatever the daemon answers: once a block was offered no other is
//         written, for the application may have filled the offered one.
TEST_F(GpuPublishTest, AnotherBlockThanTheOfferedOneIsNotWritten) {
  OpenDevice();
  fake_.Grant(0, {kFirst}, kPool);
  const auto state = Open();
  ASSERT_THAT(state->Begin(0, {}, Keys(0, 1), 0, Soon()), IsOk());
  ASSERT_EQ(state->outcome(0), BlockOutcome::kWriting);

  fake_.AnswerBlock(handle_, PublishAnswer::kYours, 0, 9);

  EXPECT_EQ(state->outcome(0), BlockOutcome::kInFlight);
  EXPECT_EQ(state->residence(0), BlockResidence::kNone);
  fake_.TakeSubmissions();
  ASSERT_THAT(state->Commit(0, 1), IsOk());
  EXPECT_THAT(Sent(SubmitType::kCommit), testing::IsEmpty());
  // The offered block is granted still.
  EXPECT_EQ(channel_.granted(0, kPool), 1);
}

TEST_F(GpuPublishTest, AnOfferedBlockOfAMemoryThatWentFindsNoSpace) {
  OpenDevice();
  fake_.Grant(0, {kFirst}, kPool);
  const auto state = Open();
  ASSERT_THAT(state->Begin(0, {}, Keys(0, 1), 0, Soon()), IsOk());

  fake_.Answer(handle_, PublishAnswer::kNoSpace, 0, 1);

  EXPECT_EQ(state->outcome(0), BlockOutcome::kNoSpace);
  // Granted still, until it is recalled; a device may be writing to it.
  EXPECT_EQ(channel_.granted(0, kPool), 0);
  ASSERT_THAT(state->Commit(0, 1), IsOk());
  EXPECT_EQ(channel_.granted(0, kPool), 1);
}

TEST_F(GpuPublishTest, WithoutADeviceOrItsMemoryBlocksAreTheHosts) {
  fake_.Grant(0, {1, 2, 3});
  const auto without = Open();
  ASSERT_THAT(without->Begin(0, {}, Keys(0, 1), 0, Soon()), IsOk());
  EXPECT_EQ(without->residence(0), BlockResidence::kHost);
  EXPECT_EQ(fake_.TakeSubmissions().at(0).pool, 0);

  OpenDevice();
  const auto as_said = Open(BlockResidence::kHost);
  ASSERT_THAT(as_said->Begin(0, {}, Keys(1, 1), 0, Soon()), IsOk());
  EXPECT_EQ(as_said->residence(0), BlockResidence::kHost);

  fake_.SetIncarnation(kPool, 2);
  const auto away = Open();
  ASSERT_THAT(away->Begin(0, {}, Keys(2, 1), 0, Soon()), IsOk());
  EXPECT_EQ(away->residence(0), BlockResidence::kHost);
}

TEST_F(GpuPublishTest, AKeyThatIsReadyInAGpuExists) {
  fake_.Grant(0, {1});
  fake_.PutGpu(NumberedKey(0), 2);
  const auto state = Open(BlockResidence::kHost);
  ASSERT_THAT(state->Begin(0, {}, Keys(0, 1), 0, Soon()), IsOk());
  EXPECT_EQ(state->outcome(0), BlockOutcome::kExists);
  EXPECT_EQ(fake_.TakeSubmissions().at(1).begin_block.block,
            protocol::kAlreadyThere);
}

// --- ranks that join -----------------------------------------------------

TEST_F(GpuPublishTest, ARankThatJoinsWritesTheBlockThereIs) {
  OpenDevice();
  const auto state = Open(BlockResidence::kHost, /*slice_count=*/1);
  BeginIn(state.get(), {kFirst + 3});
  EXPECT_EQ(state->residence(0), BlockResidence::kGpu);
  EXPECT_EQ(state->Look(0).block, kFirst + 3);
}

TEST_F(GpuPublishTest, ARankThatCannotReachTheBlockAbortsIt) {
  const auto state = Open(BlockResidence::kHost, /*slice_count=*/1);
  BeginIn(state.get(), {kFirst + 3});
  EXPECT_EQ(state->outcome(0), BlockOutcome::kVoid);
  EXPECT_EQ(state->residence(0), BlockResidence::kNone);
  EXPECT_EQ(Sent(SubmitType::kAbort).size(), 1);
}

// --- copies by a device --------------------------------------------------

class GpuHoldTest : public GpuPublishTest {
 protected:
  // A publication with one block that a device is writing.
  std::unique_ptr<PublicationState> OpenHeld() {
    OpenDevice();
    fake_.Grant(0, {kFirst, kFirst + 1}, kPool);
    auto state = Open();
    EXPECT_THAT(state->Begin(0, {}, Keys(0, 1), 0, Soon()), IsOk());
    fake_.Answer(handle_, PublishAnswer::kYours, 0, 1);
    EXPECT_EQ(state->outcome(0), BlockOutcome::kWriting);
    fake_.TakeSubmissions();
    state->Hold();
    return state;
  }
};

// Goal    The daemon does not hear of the end of a publication while a device
//         is writing to its blocks.
TEST_F(GpuHoldTest, ACloseInTimeWaitsForTheDeviceOthersAreTold) {
  const auto state = OpenHeld();

  EXPECT_THAT(state->Close(absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("still writing")));
  EXPECT_THAT(fake_.TakeSubmissions(), testing::IsEmpty());
  // Closed: what the device brings is too late.
  EXPECT_THAT(state->Commit(0, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition));

  state->Release();
  EXPECT_EQ(Sent(SubmitType::kClose).size(), 1);
}

TEST_F(GpuHoldTest, TheReapersCommitComesBeforeTheClose) {
  const auto state = OpenHeld();
  std::thread reaper([&] {
    EXPECT_THAT(state->Commit(0, 1), IsOk());
    fake_.Answer(handle_, PublishAnswer::kCommitted, 0, 1);
    state->Release();
  });

  EXPECT_THAT(state->Close(Later()), IsOk());
  reaper.join();

  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  ASSERT_EQ(sent.size(), 2);
  EXPECT_TRUE(Is(sent[0], SubmitType::kCommit));
  EXPECT_TRUE(Is(sent[1], SubmitType::kClose));
}

TEST_F(GpuHoldTest, AbortAndDestructionWaitForTheDevice) {
  auto state = OpenHeld();
  state->Hold();  // two copies
  std::atomic<bool> released{false};
  std::thread reaper([&, held = state.get()] {
    held->Release();
    released.store(true);
    held->Release();
  });
  state->Abort();
  EXPECT_TRUE(released.load());
  reaper.join();
  EXPECT_EQ(Sent(SubmitType::kAbort).size(), 1);

  auto other = Open();
  ASSERT_THAT(other->Begin(0, {}, Keys(5, 1), 0, Soon()), IsOk());
  fake_.TakeSubmissions();
  other->Hold();
  released.store(false);
  std::thread last([&, held = other.get()] {
    released.store(true);
    held->Release();
  });
  other.reset();
  EXPECT_TRUE(released.load());
  last.join();
  EXPECT_EQ(Sent(SubmitType::kClose).size(), 1);
}

// Goal    A begin that fails closes the publication; its earlier blocks, which
//         a device still writes, are not let go of before that is over.
TEST_F(GpuHoldTest, ACloseOfTheLibrarysOwnIsPutOff) {
  const auto state = OpenHeld();
  // More blocks than are granted: the daemon is asked, and does not answer.
  EXPECT_THAT(state->Begin(0, {}, Keys(10, 4), 0, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(Sent(SubmitType::kClose), testing::IsEmpty());
  state->Release();
  EXPECT_EQ(Sent(SubmitType::kClose).size(), 1);
}

TEST_F(GpuHoldTest, FillIsTheHostsAlone) {
  const auto state = OpenHeld();
  state->Release();
  const GroupSpec spec = {.kv_count = 1, .head_bytes = 4, .slice_count = 2};
  std::vector<std::byte> engine(spec.block_bytes());
  PagedOptions options;
  options.layers = {{.base = engine.data(),
                     .block_stride = 128,
                     .token_stride = 8,
                     .head_stride = 4}};
  options.block_count = 1;
  const auto memory = PagedMemory::Create(spec, options);
  ASSERT_THAT(memory, IsOk());
  const std::vector<uint64_t> blocks = {0};
  EXPECT_THAT(state->Fill(0, *memory, blocks, 0),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("position 0 is to be written in GPU pool 1")));
}

}  // namespace
}  // namespace kvferry::sdk
