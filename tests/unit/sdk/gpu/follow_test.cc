// Gpu::Follow's own part; streams that are written meanwhile are in
// tests/integration/gpu_transfer_test.cc.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "sdk/stream_state.h"
#include "sdk/stream_watcher.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/gpu/gpu_fixture.h"

namespace kvferry::sdk {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::ElementsAre;

class FollowTest : public GpuFixture {
 protected:
  ~FollowTest() override {
    gpu_.reset();
    watcher_->Stop();
  }
  std::unique_ptr<StreamState> Stream(uint64_t first, uint64_t count) {
    std::vector<BlockKey> keys;
    for (uint64_t n = first; n < first + count; ++n) {
      keys.push_back(test::NumberedKey(n));
    }
    auto stream = std::make_unique<StreamState>();
    KVFERRY_CHECK(
        stream->Start(attachment_, watcher_, keys, StreamOptions()).ok());
    return stream;
  }
  absl::StatusOr<GpuTransfer> Follow(std::unique_ptr<StreamState>* prefix,
                                     const Engine& engine,
                                     std::span<const uint64_t> blocks,
                                     uint32_t group = 0) {
    GpuPull pull;
    pull.group = group;
    pull.memory = engine.memory.get();
    pull.engine_blocks = blocks;
    return gpu_->Follow(prefix, pull, stream(), GpuPullOptions());
  }

  const std::shared_ptr<StreamWatcher> watcher_ =
      std::make_shared<StreamWatcher>();
};

// Goal    What is there already is copied at once, from every memory, and the
//         stream's pins go with the transfer.
TEST_F(FollowTest, ReadyBlocksComeFromEveryMemory) {
  Open();
  for (uint64_t n = 0; n < 6; ++n) PutKey(n, static_cast<uint32_t>(n % 3));
  const Engine engine = MakeEngine(EngineOrder::kHnd);
  const std::vector<uint64_t> blocks = {5, 4, kNoEngineBlock, 2, 1, 0};
  auto prefix = Stream(0, 6);

  auto transfer = Follow(&prefix, engine, blocks);

  ASSERT_THAT(transfer, IsOk());
  EXPECT_EQ(prefix, nullptr);
  ASSERT_THAT(transfer->Wait(), IsOk());
  for (uint64_t n = 0; n < 6; ++n) {
    if (n == 2) continue;
    EXPECT_TRUE(HasKey(engine, 5 - n, n)) << n;
  }
  EXPECT_EQ(fake_.pin_sum(), 0u);
}

// Goal    Keys that nobody writes are missing, exactly; the rest is right.
TEST_F(FollowTest, KeysThatNeverComeAreSkipped) {
  Open();
  PutKey(0, kOwnPool);
  PutKey(1, 0);
  const Engine engine = MakeEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {3, 4, 5, kNoEngineBlock};
  auto prefix = Stream(0, 4);

  auto transfer = Follow(&prefix, engine, blocks);

  ASSERT_THAT(transfer, IsOk());
  EXPECT_THAT(transfer->Wait(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(transfer->skipped(), ElementsAre(2));
  EXPECT_TRUE(HasKey(engine, 3, 0));
  EXPECT_TRUE(HasKey(engine, 4, 1));
  EXPECT_EQ(fake_.pin_sum(), 0u);
}

// Goal    Memory that went while it was copied is a miss.
// Method  The copy hangs; the pool's memory is another's when it goes on.
TEST_F(FollowTest, MemoryThatWentMeanwhileIsAMiss) {
  Open();
  PutKey(0, 0);
  PutKey(1, kOwnPool);
  const Engine engine = MakeEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {3, 4};
  auto prefix = Stream(0, 2);
  control_.HangWork();
  auto transfer = Follow(&prefix, engine, blocks);
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();
  EXPECT_FALSE(transfer->done());
  EXPECT_NE(fake_.pin_sum(), 0u);
  fake_.SetIncarnation(kOwnPool, 3);
  control_.Release();

  EXPECT_THAT(transfer->Wait(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(transfer->skipped(), ElementsAre(1));
  EXPECT_TRUE(HasKey(engine, 3, 0));
  EXPECT_EQ(fake_.pin_sum(), 0u);
}

// Goal    A call that is refused leaves the stream as it was.
TEST_F(FollowTest, RefusalsLeaveTheStreamAlone) {
  Open();
  PutKey(0, kOwnPool);
  const Engine engine = MakeEngine(EngineOrder::kNhd);
  const Engine other = MakeEngine(EngineOrder::kNhd, 1);
  const std::vector<uint64_t> one = {3};
  const std::vector<uint64_t> two = {3, 4};
  const std::vector<uint64_t> beyond = {16};
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  auto prefix = Stream(0, 1);
  std::unique_ptr<StreamState> empty;

  EXPECT_THAT(Follow(&empty, engine, one), StatusIs(kInvalid));
  EXPECT_THAT(Follow(&prefix, engine, two), StatusIs(kInvalid));
  EXPECT_THAT(Follow(&prefix, engine, beyond), StatusIs(kInvalid));
  EXPECT_THAT(Follow(&prefix, other, one), StatusIs(kInvalid));
  EXPECT_THAT(Follow(&prefix, other, one, 1), StatusIs(kInvalid));
  ASSERT_THAT(control_.BeginCapture(stream()), IsOk());
  EXPECT_THAT(Follow(&prefix, engine, one),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(control_.EndCapture(stream()), IsOk());

  ASSERT_NE(prefix, nullptr);
  EXPECT_EQ(prefix->ok_blocks(), 1u);
  auto transfer = Follow(&prefix, engine, one);
  ASSERT_THAT(transfer, IsOk());
  EXPECT_THAT(transfer->Wait(), IsOk());
  EXPECT_TRUE(HasKey(engine, 3, 0));
}

// Goal    Whichever call of the device fails, the transfer is refused, or ends;
//         with an error, or with the right bytes. No pin is left.
// Method  The k-th call fails, for every k until none is reached.
TEST_F(FollowTest, EveryCallMayFail) {
  constexpr uint64_t kKeys = 6;
  std::vector<uint32_t> key_blocks;
  const std::vector<uint64_t> blocks = {0, 1, 2, 3, 4, 5};
  ForEachFailingCall(100, [&](const auto& arm, const auto& disarm) {
    PutKeysEverywhere(kKeys, &key_blocks);
    const Engine engine = MakeEngine(EngineOrder::kNhd);
    auto prefix = Stream(0, kKeys);
    arm();

    auto transfer = Follow(&prefix, engine, blocks);

    if (!transfer.ok()) {
      ASSERT_NE(prefix, nullptr);
      prefix.reset();
    } else if (transfer->Wait().ok()) {
      for (uint64_t n = 0; n < kKeys; ++n) {
        EXPECT_TRUE(HasKey(engine, n, n)) << n;
      }
    } else {
      EXPECT_EQ(transfer->skipped().size(), kKeys);
    }
    EXPECT_EQ(fake_.pin_sum(), 0u);
    disarm();
  });
}

}  // namespace
}  // namespace kvferry::sdk
