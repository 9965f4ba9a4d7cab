#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <numeric>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/gpu/pull_fixture.h"

namespace kvferry::sdk {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

// Goal    Every byte of a hit lands where the engine has it, whichever memory
//         each block lies in, and nothing else is touched.
// Method  Blocks in the own pool, a peer's, registered host memory and (once
//         registration is refused) staged; three engine layouts.
class PullHomesTest : public PullTest,
                      public testing::WithParamInterface<EngineOrder> {};

TEST_P(PullHomesTest, BytesLandFromEveryMemory) {
  for (const bool registers : {true, false}) {
    gpu_.reset();
    Open(registers);
    const uint64_t first = registers ? 0 : 100;
    for (uint64_t n = 0; n < 9; ++n) {
      PutKey(first + n, static_cast<uint32_t>(n % 3));
    }
    Engine engine = MakeEngine(GetParam());
    std::fill(engine.bytes.begin(), engine.bytes.end(), kUntouched);
    const std::vector<uint64_t> blocks = {7, 3, 0, kNoEngineBlock, 15, 1,
                                          9, 4, 2};
    PinnedPrefix prefix = Match(first, 9);
    ASSERT_EQ(prefix.block_count(), 9u);

    auto transfer = PullTo(&prefix, Pull(engine, blocks));

    ASSERT_THAT(transfer, IsOk());
    EXPECT_EQ(prefix.block_count(), 0u);
    ASSERT_THAT(transfer->Wait(), IsOk());
    EXPECT_EQ(transfer->bytes(), 8 * 2 * Group(0).page_bytes());
    EXPECT_THAT(transfer->skipped(), IsEmpty());
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i] == kNoEngineBlock) continue;
      EXPECT_TRUE(HasKey(engine, blocks[i], first + i)) << i;
    }
    for (const uint64_t other : {5, 6, 8, 10, 11, 12, 13, 14}) {
      EXPECT_THAT(engine.Page(other, 0), Each(kUntouched)) << other;
    }
    EXPECT_EQ(fake_.pin_sum(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, PullHomesTest,
                         testing::Values(EngineOrder::kNhd, EngineOrder::kHnd,
                                         EngineOrder::kPacked));

// Goal    Where nothing can be registered, staging goes through the device's
//         memory.
// Method  Registration refused altogether; several halves' worth of pages.
TEST_F(PullTest, StagesThroughDeviceMemoryWhenNothingCanBeRegistered) {
  Open(/*registers=*/false);
  device_->refuses_registration = true;
  for (uint64_t n = 0; n < 16; ++n) PutKey(n, 0);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  std::vector<uint64_t> blocks(16);
  std::iota(blocks.begin(), blocks.end(), 0);
  PinnedPrefix prefix = Match(0, 16);

  auto transfer = PullTo(&prefix, Pull(engine, blocks), /*layers_a_piece=*/1);

  ASSERT_THAT(transfer, IsOk());
  ASSERT_THAT(transfer->Wait(), IsOk());
  EXPECT_EQ(transfer->bytes(), 16 * 2 * Group(0).page_bytes());
  for (uint64_t n = 0; n < 16; ++n) EXPECT_TRUE(HasKey(engine, n, n)) << n;
}

// Goal    Of the last block only the valid tokens are written.
TEST_F(PullTest, TailWritesItsTokensOnly) {
  Open();
  PutKey(0, kOwnPool);
  PutKey(1, 0);
  Engine engine = MakeEngine(EngineOrder::kHnd);
  std::fill(engine.bytes.begin(), engine.bytes.end(), kUntouched);
  const std::vector<uint64_t> blocks = {4, 5};
  PinnedPrefix prefix = Match(0, 2);

  auto transfer = PullTo(&prefix, Pull(engine, blocks, 0, /*last_tokens=*/3));

  ASSERT_THAT(transfer, IsOk());
  ASSERT_THAT(transfer->Wait(), IsOk());
  EXPECT_TRUE(HasKey(engine, 4, 0));
  Engine expected = MakeEngine(EngineOrder::kHnd);
  std::fill(expected.bytes.begin(), expected.bytes.end(), kUntouched);
  for (uint32_t s = 0; s < 2; ++s) {
    ASSERT_THAT(expected.memory->Scatter(
                    5, s, Pattern(64 + s, Group(0).page_bytes()), 3),
                IsOk());
    EXPECT_EQ(engine.Page(5, s), expected.Page(5, s));
  }
}

// Goal    A rank takes its slice, and several groups go as one transfer.
TEST_F(PullTest, SlicesAndGroupsGoTogether) {
  Open();
  PutKey(0, kOwnPool);
  PutKey(1, 0);
  PutKey(10, 3, /*group=*/1);
  Engine full = MakeEngine(EngineOrder::kPacked, 0, 8, /*slice_first=*/1, 1);
  Engine latent = MakeEngine(EngineOrder::kNhd, 1);
  const std::vector<BlockKey> full_keys = {test::NumberedKey(0),
                                           test::NumberedKey(1)};
  const std::vector<BlockKey> latent_keys = {test::NumberedKey(10),
                                             test::NumberedKey(11)};
  PutKey(11, 0, /*group=*/1);
  const std::vector<GroupKeys> keys = {{0, full_keys}, {1, latent_keys}};
  PinnedPrefix prefix;
  ASSERT_THAT(Matcher::MatchGroups(attachment_.get(), keys, &prefix), IsOk());
  ASSERT_EQ(prefix.tokens(), 2 * kTokens);
  const std::vector<uint64_t> full_blocks = {6, 1};
  const std::vector<uint64_t> latent_blocks = {2, 3};
  const std::vector<GpuPull> pulls = {Pull(full, full_blocks, 0),
                                      Pull(latent, latent_blocks, 1)};

  auto transfer = gpu_->PullTo(&prefix, pulls, stream(), {.layers_a_piece = 2});

  ASSERT_THAT(transfer, IsOk());
  ASSERT_THAT(transfer->Wait(), IsOk());
  EXPECT_TRUE(HasKey(full, 6, 0));
  EXPECT_TRUE(HasKey(full, 1, 1));
  EXPECT_TRUE(HasKey(latent, 2, 10));
  EXPECT_TRUE(HasKey(latent, 3, 11));
}

// Goal    What became void while it was copied is a miss, though every copy
//         went well.
TEST_F(PullTest, MemoryThatWentMeanwhileIsAMiss) {
  Open();
  PutKey(0, kOwnPool);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {5};
  PinnedPrefix prefix = Match(0, 1);
  control_.HangWork();
  auto transfer = PullTo(&prefix, Pull(engine, blocks));
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();
  fake_.SetIncarnation(kOwnPool, 2);
  control_.Release();

  EXPECT_THAT(transfer->Wait(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(transfer->skipped(), ElementsAre(0));
  EXPECT_EQ(fake_.pin_sum(), 0u);

  PutKey(1, 0);
  prefix = Match(1, 1);
  control_.HangWork();
  transfer = PullTo(&prefix, Pull(engine, blocks));
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();
  fake_.SetRevoked();
  control_.Release();

  EXPECT_THAT(transfer->Wait(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(fake_.pin_sum(), 0u);
}

// Goal    A call that is refused touches nothing, and leaves the prefix as it
//         was.
TEST_F(PullTest, RefusalsLeaveThePrefixAlone) {
  Open();
  const uint32_t block = PutKey(0, kOwnPool);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  std::fill(engine.bytes.begin(), engine.bytes.end(), kUntouched);
  Engine other = MakeEngine(EngineOrder::kNhd, 1);
  PinnedPrefix prefix = Match(0, 1);
  const std::vector<uint64_t> one = {5};
  const std::vector<uint64_t> two = {5, 6};
  const std::vector<uint64_t> beyond = {16};
  GpuPull no_memory = Pull(engine, one);
  no_memory.memory = nullptr;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

  EXPECT_THAT(PullTo(&prefix, Pull(engine, two)), StatusIs(kInvalid));
  EXPECT_THAT(PullTo(&prefix, Pull(engine, beyond)), StatusIs(kInvalid));
  EXPECT_THAT(PullTo(&prefix, Pull(other, one)), StatusIs(kInvalid));
  EXPECT_THAT(PullTo(&prefix, Pull(engine, one, 1)), StatusIs(kInvalid));
  EXPECT_THAT(PullTo(&prefix, Pull(engine, one, 0, kTokens + 1)),
              StatusIs(kInvalid));
  EXPECT_THAT(PullTo(&prefix, no_memory), StatusIs(kInvalid));
  const std::vector<GpuPull> twice(2, Pull(engine, one));
  EXPECT_THAT(gpu_->PullTo(&prefix, twice, stream(), {}), StatusIs(kInvalid));
  EXPECT_THAT(gpu_->PullTo(&prefix, {}, stream(), {}), StatusIs(kInvalid));
  ASSERT_THAT(control_.BeginCapture(stream()), IsOk());
  EXPECT_THAT(PullTo(&prefix, Pull(engine, one)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(control_.EndCapture(stream()), IsOk());

  EXPECT_EQ(prefix.block_count(), 1u);
  EXPECT_EQ(fake_.pins(block), 1);
  EXPECT_THAT(engine.bytes, Each(kUntouched));
  auto transfer = PullTo(&prefix, Pull(engine, one));
  ASSERT_THAT(transfer, IsOk());
  ASSERT_THAT(control_.BeginCapture(stream()), IsOk());
  // Done or not, a captured stream is not to wait for it.
  const absl::Status ordered = transfer->OrderAfter({stream()});
  EXPECT_TRUE(ordered.ok() ||
              ordered.code() == absl::StatusCode::kFailedPrecondition);
  ASSERT_THAT(control_.EndCapture(stream()), IsOk());
  EXPECT_THAT(transfer->Wait(), IsOk());
}

// Goal    A forked child is refused everything, and takes nothing away from its
//         parent: neither a pin nor a transfer.
TEST_F(PullTest, ForkedChildrenAreRefused) {
  Open();
  const uint32_t block = PutKey(0, kOwnPool);
  PutKey(1, kOwnPool);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {5};
  PinnedPrefix prefix = Match(0, 1);
  PinnedPrefix other = Match(1, 1);
  control_.HangWork();
  auto transfer = PullTo(&prefix, Pull(engine, blocks));
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();

  const pid_t child = ::fork();
  if (child == 0) {
    constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;
    const bool refused =
        PullTo(&other, Pull(engine, blocks)).status().code() == kRefused &&
        transfer->Wait().code() == kRefused &&
        transfer->status().code() == kRefused &&
        transfer->OrderAfter({stream()}).code() == kRefused &&
        gpu_->pool_status().code() == kRefused &&
        gpu_->DevicePage(other, 0, 0, 0) == nullptr;
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);

  EXPECT_EQ(status, 0);
  EXPECT_EQ(fake_.pins(block), 1);
  control_.Release();
  EXPECT_THAT(transfer->Wait(), IsOk());
  EXPECT_TRUE(HasKey(engine, 5, 0));
}

// Goal    A kernel of the engine's may read pages where they lie: in a pool, a
//         peer's, registered host memory; nowhere else.
TEST_F(PullTest, DevicePagesAreWhereTheBytesAre) {
  for (const bool registers : {true, false}) {
    gpu_.reset();
    Open(registers);
    const uint64_t first = registers ? 0 : 10;
    for (uint64_t n = 0; n < 3; ++n) {
      PutKey(first + n, static_cast<uint32_t>(n));
    }
    PinnedPrefix prefix = Match(first, 3);
    for (uint32_t i = 0; i < 3; ++i) {
      const std::byte* const page = gpu_->DevicePage(prefix, i, 1, 0);
      if (i == 0 && !registers) {
        EXPECT_EQ(page, nullptr);
        continue;
      }
      ASSERT_NE(page, nullptr) << i;
      EXPECT_EQ(std::vector<std::byte>(page, page + Group(0).page_bytes()),
                Pattern((first + i) * 64 + 1, Group(0).page_bytes()));
    }
    EXPECT_EQ(gpu_->DevicePage(prefix, 3, 0, 0), nullptr);
    EXPECT_EQ(gpu_->DevicePage(prefix, 1, 2, 0), nullptr);
    EXPECT_EQ(gpu_->DevicePage(prefix, 1, 0, 1), nullptr);
    EXPECT_EQ(gpu_->DevicePage(PinnedPrefix(), 0, 0, 0), nullptr);
  }
}

// Goal    A device that breaks ends every transfer, and no pin is left.
// Method  One copy hangs, others queue behind it; the device breaks.
TEST_F(PullTest, BrokenDeviceEndsEveryTransfer) {
  Open(/*registers=*/true, /*side_streams=*/1);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {5};
  std::vector<GpuTransfer> transfers;
  control_.HangWork();
  for (uint64_t n = 0; n < 6; ++n) {
    PutKey(n, static_cast<uint32_t>(n % 3));
    PinnedPrefix prefix = Match(n, 1);
    auto transfer = PullTo(&prefix, Pull(engine, blocks));
    ASSERT_THAT(transfer, IsOk());
    transfers.push_back(*transfer);
  }
  control_.WaitUntilHung();

  control_.Break("as told");

  for (const GpuTransfer& transfer : transfers) {
    EXPECT_THAT(transfer.Wait(), StatusIs(absl::StatusCode::kUnavailable));
  }
  EXPECT_EQ(fake_.pin_sum(), 0u);
  PutKey(9, 0);
  PinnedPrefix prefix = Match(9, 1);
  EXPECT_THAT(PullTo(&prefix, Pull(engine, blocks)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(prefix.block_count(), 1u);
}

// Goal    The same of a page on its way through staging.
TEST_F(PullTest, BrokenDeviceEndsStagedTransfers) {
  Open(/*registers=*/false);
  for (uint64_t n = 0; n < 16; ++n) PutKey(n, 0);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  std::vector<uint64_t> blocks(16);
  std::iota(blocks.begin(), blocks.end(), 0);
  PinnedPrefix prefix = Match(0, 16);
  control_.FailWork(2);

  auto transfer = PullTo(&prefix, Pull(engine, blocks));

  ASSERT_THAT(transfer, IsOk());
  EXPECT_THAT(transfer->Wait(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(transfer->OrderAfter({stream()}),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(fake_.pin_sum(), 0u);
}

// Goal    The Gpu's end waits for what is under way; transfers outlive it.
TEST_F(PullTest, DestroyingWaitsForTransfers) {
  Open();
  for (uint64_t n = 0; n < 8; ++n) PutKey(n, static_cast<uint32_t>(n % 3));
  Engine engine = MakeEngine(EngineOrder::kNhd);
  std::vector<GpuTransfer> transfers;
  control_.HangWork();
  for (uint64_t n = 0; n < 8; ++n) {
    const std::vector<uint64_t> blocks = {n};
    PinnedPrefix prefix = Match(n, 1);
    auto transfer = PullTo(&prefix, Pull(engine, blocks));
    ASSERT_THAT(transfer, IsOk());
    transfers.push_back(*transfer);
  }
  control_.WaitUntilHung();
  EXPECT_FALSE(transfers[0].done());
  std::future<void> destroyed =
      std::async(std::launch::async, [this] { gpu_.reset(); });
  control_.Release();
  destroyed.get();

  for (const GpuTransfer& transfer : transfers) {
    EXPECT_TRUE(transfer.done());
    EXPECT_THAT(transfer.status(), IsOk());
    EXPECT_THAT(transfer.OrderAfter({stream()}), IsOk());
  }
  EXPECT_EQ(fake_.pin_sum(), 0u);
  for (uint64_t n = 0; n < 8; ++n) EXPECT_TRUE(HasKey(engine, n, n));
}

// Goal    Whichever call of the device fails, with or without having done what
//         it was to do: the pull is refused with the prefix intact, or ends
//         with an error or with the right bytes; no pin is left, and the next
//         pull works.
// Method  The k-th call fails, for every k until none is reached; blocks in all
//         memories, several pieces.
TEST_F(PullTest, EveryCallMayFail) {
  constexpr uint64_t kKeys = 6;
  std::vector<uint32_t> key_blocks;
  const std::vector<uint64_t> blocks = {0, 1, 2, 3, 4, 5};
  ForEachFailingCall(200, [&](const auto& arm, const auto& disarm) {
    PutKeysEverywhere(kKeys, &key_blocks);
    Engine engine = MakeEngine(EngineOrder::kNhd);
    PinnedPrefix prefix = Match(0, kKeys);
    arm();

    auto transfer = PullTo(&prefix, Pull(engine, blocks), /*layers_a_piece=*/2);

    if (!transfer.ok()) {
      EXPECT_EQ(prefix.block_count(), kKeys);
      prefix.Release();
    } else if (transfer->Wait().ok()) {
      for (uint64_t n = 0; n < kKeys; ++n) {
        EXPECT_TRUE(HasKey(engine, n, n)) << n;
      }
    } else {
      EXPECT_EQ(transfer->skipped().size(), kKeys);
    }
    EXPECT_EQ(fake_.pin_sum(), 0u);
    disarm();
    prefix = Match(0, kKeys);
    transfer = PullTo(&prefix, Pull(engine, blocks));
    ASSERT_THAT(transfer, IsOk());
    ASSERT_THAT(transfer->Wait(), IsOk());
    for (uint64_t n = 0; n < kKeys; ++n) {
      EXPECT_TRUE(HasKey(engine, n, n)) << n;
    }
  });
}

}  // namespace
}  // namespace kvferry::sdk
