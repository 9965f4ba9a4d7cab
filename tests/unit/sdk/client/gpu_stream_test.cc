#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "sdk/lookup.h"
#include "sdk/stream_state.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/client/stream_fixture.h"

namespace kvferry::sdk {
namespace {

using protocol::ResidenceState;
using test::IsOk;
using test::NumberedKey;
using test::StatusIs;
using testing::HasSubstr;

// A namespace with a pool of group 0 on each of two devices.
class GpuStreamTest : public StreamFixture {
 protected:
  GpuStreamTest()
      : StreamFixture({{.group = 0, .device = 0, .block_count = 64},
                       {.group = 0, .device = 1, .block_count = 64}}) {}

  // This process has device 0 open, and pool 1's memory.
  void OpenDevice() {
    auto device = gpu::OpenDevice("emulated:0");
    ASSERT_THAT(device, IsOk());
    fake_.OpenGpu(attachment_.get(), *std::move(device), 0, {1});
  }
  uint32_t PutInGpu(uint64_t number,
                    ResidenceState state = ResidenceState::kReady,
                    protocol::PublicationRef ref = {}, uint32_t pool = 1) {
    return fake_.PutGpu(NumberedKey(number), pool, state, ref);
  }
  // OpenOne, with the keys pending in pool 1.
  void OpenInGpu(uint32_t pending_keys) {
    OpenOne(0);
    for (uint32_t p = 0; p < pending_keys; ++p) {
      PutInGpu(p, ResidenceState::kPending, At(p));
    }
  }
  void CopyToHost(uint64_t number) {
    fake_.PutHostCopy(NumberedKey(number), next_block_[0]++);
  }
  LookupResult Lookup(const std::vector<BlockKey>& keys) {
    const GroupKeys group{.group = 0, .keys = keys};
    auto result = LookupGroups(attachment_.get(), {&group, 1});
    EXPECT_THAT(result, IsOk());
    return *result;
  }

  StreamState stream_;
};

// --- a client that reaches the pool --------------------------------------

// Goal    Blocks that are written into a GPU are followed as those of the host
//         are: chunk by chunk, layer by layer, before the daemon commits them.
TEST_F(GpuStreamTest, PendingBlocksAreFollowedByTheirWritersProgress) {
  OpenDevice();
  OpenInGpu(4);
  PassLayers(writer(), kGeneration, 1, 4, 2);

  ASSERT_THAT(Start(&stream_, Keys(0, 4)), IsOk());

  EXPECT_EQ(stream_.block_count(), 4);
  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_EQ(stream_.layered_end(), 4);
  EXPECT_EQ(stream_.ok_layers(), 2);
  EXPECT_TRUE(stream_.page(0, 0).empty());
  EXPECT_EQ(attachment_->gpu_pools().PoolOf(stream_.block_number(0)), 1);
  EXPECT_EQ(fake_.pin_sum(), 4);
  EXPECT_EQ(stream_.IncarnationOf(1), 1);
  EXPECT_EQ(stream_.IncarnationOf(2), 0);

  Pass(writer(), kGeneration, 4);
  EXPECT_TRUE(stream_.Poll());
  EXPECT_TRUE(stream_.done());
  EXPECT_THAT(stream_.status(), IsOk());
  EXPECT_EQ(stream_.Confirm(4), 4);

  // Committed: its residence is ready.
  for (uint64_t n = 0; n < 4; ++n) {
    fake_.SetGpuState(NumberedKey(n), ResidenceState::kReady);
  }
  Changed(kSlot);
  EXPECT_THAT(stream_.WaitCommitted(absl::Now() + absl::Seconds(20)), IsOk());
  stream_.Release();
  EXPECT_EQ(fake_.pin_sum(), 0);
  EXPECT_EQ(fake_.memory().touches[1].deepest_hit.load(),
            fake_.GpuWordOf(NumberedKey(3)));
}

TEST_F(GpuStreamTest, AReadyHostBlockComesBeforeAPendingOneOfAGpu) {
  OpenDevice();
  PutReady(0);
  PutInGpu(0, ResidenceState::kPending);
  PutReady(1);
  PutInGpu(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 2);
  EXPECT_FALSE(stream_.page(0, 0).empty());
  EXPECT_TRUE(stream_.page(1, 0).empty());
}

// Goal    A GPU residence that is lost between its finding and its pin leaves
// no
//         trace: its key's host block is read as any.
// Method  It stays retiring for as long as a look bears, then it is dropped.
TEST_F(GpuStreamTest, ALostGpuResidenceGivesWayToTheHosts) {
  OpenDevice();
  PutReady(0);
  PutInGpu(0, ResidenceState::kRetiring);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  ASSERT_EQ(stream_.block_count(), 0);
  EXPECT_EQ(fake_.pin_sum(), 0);
  EXPECT_EQ(stream_.IncarnationOf(1), 0);

  fake_.DropGpu(NumberedKey(0));
  stream_.Poll();

  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_FALSE(stream_.page(0, 0).empty());
  uint32_t copied = 0;
  EXPECT_THAT(stream_.PullTo(
                  {},
                  [&](uint32_t, uint32_t, uint32_t, uint32_t,
                      std::span<const std::byte>) { ++copied; },
                  absl::Now() + absl::Seconds(20)),
              IsOk());
  EXPECT_EQ(copied, 1u);
}

TEST_F(GpuStreamTest, ABlockThatLeavesTheGpuUncommittedEndsTheStream) {
  OpenDevice();
  OpenInGpu(3);
  Pass(writer(), kGeneration, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 3)), IsOk());
  ASSERT_EQ(stream_.ok_blocks(), 2);

  Erase(1);
  EXPECT_EQ(stream_.Confirm(2), 1);
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("block 1 of 3")));
}

// Goal    What was read out of a memory that went is not believed, though its
//         blocks were ready and pinned.
TEST_F(GpuStreamTest, MemoryThatWentEndsTheStreamAtItsFirstBlock) {
  OpenDevice();
  PutReady(0);
  PutInGpu(1);
  PutReady(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 3)), IsOk());
  ASSERT_TRUE(stream_.done());
  ASSERT_EQ(stream_.Confirm(3), 3);

  fake_.SetIncarnation(1, 2);

  EXPECT_EQ(stream_.Confirm(3), 1);
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr("block 1 of 3 went with the worker")));
  stream_.Release();
  EXPECT_EQ(fake_.pin_sum(), 0);
}

TEST_F(GpuStreamTest, ALookNoticesItToo) {
  OpenDevice();
  OpenInGpu(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  fake_.SetIncarnation(1, 3);
  EXPECT_TRUE(stream_.Poll());
  EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(stream_.ok_blocks(), 0);
}

// Goal    The copies by the processor stop before a block that only a device
//         can copy, and say which that is.
TEST_F(GpuStreamTest, PullingIsTheHostsAlone) {
  OpenDevice();
  PutReady(0);
  PutInGpu(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  std::vector<uint32_t> copied;
  const auto copy = [&](uint32_t block, uint32_t, uint32_t, uint32_t,
                        std::span<const std::byte> bytes) {
    EXPECT_EQ(bytes.size(), kPageBytes);
    copied.push_back(block);
  };

  EXPECT_THAT(stream_.PullTo({}, copy, absl::Now() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("block 1 of 2 is in a GPU")));
  EXPECT_EQ(copied, std::vector<uint32_t>{0});
  EXPECT_EQ(stream_.copied_blocks(), 1);
  EXPECT_FALSE(stream_.PullSome({}, copy));
}

TEST_F(GpuStreamTest, LayersOfAGpusBlocksAreNotPulled) {
  OpenDevice();
  OpenInGpu(2);
  PassLayers(writer(), kGeneration, 0, 2, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  ASSERT_EQ(stream_.ok_layers(), 2);
  EXPECT_FALSE(
      stream_.PullSome({}, [](uint32_t, uint32_t, uint32_t, uint32_t,
                              std::span<const std::byte>) { FAIL(); }));
}

// --- a client that does not ----------------------------------------------

// Goal    A key in a GPU alone is waited for until its host copy is there.
TEST_F(GpuStreamTest, AKeyElsewhereIsToCome) {
  PutReady(0);
  PutInGpu(1);

  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_FALSE(stream_.done());
  EXPECT_THAT(stream_.WaitChunk(2, absl::Now() + absl::Milliseconds(5)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));

  CopyToHost(1);
  EXPECT_THAT(stream_.WaitChunk(2, absl::Now() + absl::Seconds(20)), IsOk());
  EXPECT_TRUE(stream_.done());
  EXPECT_FALSE(stream_.page(1, 0).empty());
  EXPECT_EQ(fake_.pin_sum(), 2);
}

TEST_F(GpuStreamTest, TheWaitEndsWithTheKey) {
  PutInGpu(0);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  ASSERT_FALSE(stream_.done());

  // Its worker has died before the copy.
  Erase(0);
  EXPECT_THAT(stream_.WaitChunk(1, absl::Now() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(GpuStreamTest, TheWaitEndsSomeTimeAfterTheDaemon) {
  PutInGpu(0);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  attachment_->MarkLost();
  EXPECT_THAT(stream_.WaitChunk(1, absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(GpuStreamTest, WithoutInFlightAKeyElsewhereIsAMiss) {
  PutInGpu(0);
  StreamOptions options;
  options.include_in_flight = false;
  ASSERT_THAT(Start(&stream_, Keys(0, 1), options), IsOk());
  EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kNotFound));
}

// Goal    While the first block is being written elsewhere, the publication
//         that brings it is followed to the keys that it has not begun.
TEST_F(GpuStreamTest, APublicationElsewhereIsFollowedToItsLaterKeys) {
  OpenInGpu(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  ASSERT_FALSE(stream_.done());

  fake_.SetGpuState(NumberedKey(0), ResidenceState::kReady);
  CopyToHost(0);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_FALSE(stream_.done()) << stream_.status();

  End(kSlot);
  EXPECT_THAT(stream_.WaitChunk(2, absl::Now() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kNotFound));
}

// --- lookup --------------------------------------------------------------

TEST_F(GpuStreamTest, ALookupCountsWhatIsElsewhereAsComing) {
  PutReady(0);
  PutInGpu(1);

  LookupResult result = Lookup(Keys(0, 3));
  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(result.tokens, 16);
  EXPECT_EQ(result.coming_tokens, 32);
  EXPECT_GT(result.estimate, absl::ZeroDuration());
  EXPECT_LT(result.estimate, absl::Seconds(1));

  CopyToHost(1);
  result = Lookup(Keys(0, 3));
  EXPECT_EQ(result.answer, LookupAnswer::kHit);
  EXPECT_EQ(result.tokens, 32);
}

TEST_F(GpuStreamTest, ALookupEstimatesWhatIsBeingWrittenIntoAGpu) {
  OpenInGpu(8);
  fake_.SetCoarseNow(300);
  Pass(writer(), kGeneration, 2);
  const LookupResult result = Lookup(Keys(0, 8));
  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(result.coming_tokens, 128);
  EXPECT_EQ(result.estimate, absl::Milliseconds(900));
}

TEST_F(GpuStreamTest, ALookupCountsWhatItsClientReaches) {
  OpenDevice();
  PutInGpu(0);
  PutInGpu(1, ResidenceState::kReady, {}, /*pool=*/2);
  const LookupResult result = Lookup(Keys(0, 2));
  EXPECT_EQ(result.tokens, 16);
  EXPECT_EQ(result.coming_tokens, 32);
  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
}

}  // namespace
}  // namespace kvferry::sdk
