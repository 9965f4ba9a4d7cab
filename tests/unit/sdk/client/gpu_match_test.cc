#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "sdk/matcher.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/client/allocation_counter.h"

namespace kvferry::sdk {
namespace {

using protocol::ResidenceState;
using test::FakeNamespace;
using test::IsOk;
using test::NumberedKey;
using test::StatusIs;
using testing::HasSubstr;

constexpr uint32_t kHostBlocks = 256;
// Pools 1 and 2 are group 0's on devices 0 and 1, pool 3 is group 1's.
const std::vector<FakeNamespace::PoolOptions> kPools = {
    {.group = 0, .device = 0, .block_count = 64},
    {.group = 0, .device = 1, .block_count = 64},
    {.group = 1, .device = 0, .block_count = 64}};

std::vector<BlockKey> Keys(uint64_t first, uint64_t count) {
  std::vector<BlockKey> keys;
  for (uint64_t n = first; n < first + count; ++n) {
    keys.push_back(NumberedKey(n));
  }
  return keys;
}

std::shared_ptr<gpu::Device> Emulated() {
  auto device = gpu::OpenDevice("emulated:0");
  EXPECT_THAT(device, IsOk());
  return *std::move(device);
}

class GpuMatchTest : public testing::Test {
 protected:
  explicit GpuMatchTest(ResidenceUse use = ResidenceUse::kHost)
      : fake_({{.block_count = kHostBlocks / 2,
                .blocks_per_segment = kHostBlocks / 2},
               {.block_count = kHostBlocks / 2,
                .blocks_per_segment = kHostBlocks / 2,
                .rule = HitRule::kTrailing,
                .trailing_blocks = 2}},
              /*map_segments=*/true, kPools, {.residences = use}) {}

  // This process has device 0 open, and the memory of pools 1 and 3.
  void Open() {
    fake_.OpenGpu(&fake_.attachment(), Emulated(), /*number=*/0, {1, 3});
  }
  absl::Status Match(const std::vector<BlockKey>& keys) {
    prefix_.Release();
    return Matcher::MatchPrefix(&fake_.attachment(), 0, keys, &prefix_);
  }
  // H, G or - for each position.
  std::string Residences(uint32_t count, uint32_t group = 0) const {
    std::string text;
    for (uint32_t p = 0; p < count; ++p) {
      const BlockResidence there = prefix_.residence(p, group);
      text += there == BlockResidence::kGpu    ? 'G'
              : there == BlockResidence::kHost ? 'H'
                                               : '-';
    }
    return text;
  }

  FakeNamespace fake_;
  PinnedPrefix prefix_;
};

// --- who sees what -------------------------------------------------------

TEST_F(GpuMatchTest, AHostClientMissesWhatIsInAGpuAlone) {
  fake_.Put(NumberedKey(0));
  const uint32_t block = fake_.PutGpu(NumberedKey(1), 1);

  ASSERT_THAT(Match(Keys(0, 2)), IsOk());
  EXPECT_EQ(prefix_.block_count(), 1);
  EXPECT_EQ(Residences(2), "H-");
  EXPECT_EQ(fake_.pins(block), 0);

  // Its copy arrives.
  fake_.PutHostCopy(NumberedKey(1), 100);
  ASSERT_THAT(Match(Keys(0, 2)), IsOk());
  EXPECT_EQ(Residences(2), "HH");
  EXPECT_EQ(prefix_.page(1).data(), fake_.Page(0, 100));
}

TEST_F(GpuMatchTest, AnOpenedDeviceIsPreferredKeyByKey) {
  Open();
  std::vector<uint32_t> pinned;
  // In both, in host memory alone, in the GPU alone.
  fake_.Put(NumberedKey(0));
  pinned.push_back(fake_.PutGpu(NumberedKey(0), 1));
  pinned.push_back(fake_.Put(NumberedKey(1)));
  pinned.push_back(fake_.PutGpu(NumberedKey(2), 1));

  ASSERT_THAT(Match(Keys(0, 4)), IsOk());

  EXPECT_EQ(prefix_.tokens(), 48);
  EXPECT_EQ(Residences(4), "GHG-");
  EXPECT_TRUE(prefix_.page(0).empty());
  EXPECT_EQ(prefix_.page(1).data(), fake_.Page(0, pinned[1]));
  EXPECT_TRUE(prefix_.page(2).empty());
  for (const uint32_t block : pinned) EXPECT_EQ(fake_.pins(block), 1);
  EXPECT_EQ(fake_.pin_sum(), 3);
  EXPECT_THAT(prefix_.Check(), IsOk());
  // The residence that was used is the one that is touched.
  EXPECT_EQ(fake_.memory().touches[0].deepest_hit.load(),
            fake_.GpuWordOf(NumberedKey(2)));

  prefix_.Release();
  EXPECT_EQ(fake_.pin_sum(), 0);
}

TEST_F(GpuMatchTest, AnotherDevicesPoolIsNotReached) {
  Open();
  fake_.Put(NumberedKey(0));
  fake_.PutGpu(NumberedKey(0), 2);
  fake_.PutGpu(NumberedKey(1), 2);

  ASSERT_THAT(Match(Keys(0, 2)), IsOk());
  EXPECT_EQ(Residences(2), "H-");
}

TEST_F(GpuMatchTest, APendingOrPoolLessResidenceIsNoHit) {
  Open();
  fake_.PutGpu(NumberedKey(0), 1, ResidenceState::kPending);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(prefix_.tokens(), 0);

  // While its memory is away nothing in it counts, ready or not.
  fake_.SetGpuState(NumberedKey(0), ResidenceState::kReady);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(Residences(1), "G");
  fake_.SetIncarnation(1, 2);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(prefix_.tokens(), 0);
  // New memory, which is not imported (yet).
  fake_.SetIncarnation(1, 3);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(prefix_.tokens(), 0);
  fake_.OpenGpu(&fake_.attachment(), Emulated(), 0, {1});
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(Residences(1), "G");
}

TEST_F(GpuMatchTest, AKeyOfAnotherGroupIsNoHit) {
  Open();
  fake_.PutGpu(NumberedKey(0), 3);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(prefix_.tokens(), 0);
  EXPECT_EQ(fake_.pin_sum(), 0);
}

TEST_F(GpuMatchTest, NothingIsAllocatedAfterTheFirstCall) {
  Open();
  for (uint64_t n = 0; n < 50; ++n) fake_.PutGpu(NumberedKey(n), 1);
  const std::vector<BlockKey> keys = Keys(0, 50);
  ASSERT_THAT(Match(keys), IsOk());

  test::AllocationCounter::Start();
  const absl::Status again = Match(keys);
  EXPECT_EQ(test::AllocationCounter::Stop(), 0);
  EXPECT_THAT(again, IsOk());
  EXPECT_EQ(prefix_.block_count(), 50);
}

// --- residences that leave -----------------------------------------------

TEST_F(GpuMatchTest, ADroppedResidenceGivesWayToTheHosts) {
  Open();
  std::vector<uint32_t> host;
  for (uint64_t n = 0; n < 4; ++n) {
    host.push_back(fake_.Put(NumberedKey(n)));
    fake_.PutGpu(NumberedKey(n), 1);
  }
  // Being dropped, and it stays so: the daemon has not seen the pin.
  fake_.SetGpuState(NumberedKey(1), ResidenceState::kRetiring);
  fake_.SetGpuState(NumberedKey(3), ResidenceState::kRetiring);

  ASSERT_THAT(Match(Keys(0, 4)), IsOk());

  EXPECT_EQ(Residences(4), "GHGH");
  EXPECT_EQ(fake_.pins(host[1]), 1);
  EXPECT_EQ(fake_.pins(host[3]), 1);
  EXPECT_EQ(fake_.pin_sum(), 4);
  EXPECT_EQ(fake_.memory().touches[0].deepest_hit.load(),
            fake_.WordOf(NumberedKey(3)));
}

TEST_F(GpuMatchTest, ADroppedResidenceWithoutAHostsEndsTheHit) {
  Open();
  for (uint64_t n = 0; n < 5; ++n) fake_.PutGpu(NumberedKey(n), 1);
  fake_.SetGpuState(NumberedKey(2), ResidenceState::kRetiring);

  ASSERT_THAT(Match(Keys(0, 5)), IsOk());

  EXPECT_EQ(Residences(5), "GG---");
  EXPECT_EQ(fake_.pin_sum(), 2);
  EXPECT_EQ(fake_.memory().client->retired_races.load(), 3);
}

TEST_F(GpuMatchTest, MemoryThatWentIsNotTrusted) {
  Open();
  fake_.Put(NumberedKey(0));
  fake_.PutGpu(NumberedKey(1), 1);
  ASSERT_THAT(Match(Keys(0, 2)), IsOk());
  EXPECT_THAT(prefix_.Check(), IsOk());

  fake_.SetIncarnation(1, 2);
  EXPECT_THAT(prefix_.Check(), StatusIs(absl::StatusCode::kAborted,
                                        HasSubstr("memory of GPU pool 1")));
  // Also when there is memory again.
  fake_.SetIncarnation(1, 3);
  EXPECT_THAT(prefix_.Check(), StatusIs(absl::StatusCode::kAborted));
  // Another pool's has nothing to do with it.
  fake_.SetIncarnation(1, 1);
  fake_.SetIncarnation(3, 2);
  EXPECT_THAT(prefix_.Check(), IsOk());
  // Nor has any with a prefix in host memory.
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  fake_.SetIncarnation(1, 2);
  EXPECT_THAT(prefix_.Check(), IsOk());
}

TEST_F(GpuMatchTest, WithTheDaemonItsWorkersAreGone) {
  Open();
  fake_.Put(NumberedKey(0));
  fake_.PutGpu(NumberedKey(0), 1);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(Residences(1), "G");

  fake_.attachment().MarkLost();

  EXPECT_THAT(prefix_.Check(), StatusIs(absl::StatusCode::kAborted));
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(Residences(1), "H");
  EXPECT_THAT(prefix_.Check(), IsOk());
}

TEST_F(GpuMatchTest, MovingPinsMovesTheirMemories) {
  Open();
  fake_.PutGpu(NumberedKey(0), 1);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  PinnedPrefix moved = std::move(prefix_);
  PinnedPrefix assigned;
  assigned = std::move(moved);

  EXPECT_EQ(assigned.residence(0), BlockResidence::kGpu);
  fake_.SetIncarnation(1, 2);
  EXPECT_THAT(prefix_.Check(), IsOk());
  EXPECT_THAT(moved.Check(), IsOk());
  EXPECT_THAT(assigned.Check(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(GpuMatchTest, TheLastPinIsRefusedAndNothingStaysPinned) {
  Open();
  fake_.PutGpu(NumberedKey(0), 1);
  const uint32_t full = fake_.PutGpu(NumberedKey(1), 1);
  fake_.memory().pins[full].store(protocol::kPinsPerBlockMax);

  EXPECT_THAT(Match(Keys(0, 2)), StatusIs(absl::StatusCode::kResourceExhausted,
                                          HasSubstr("61440")));
  EXPECT_EQ(prefix_.tokens(), 0);
  EXPECT_EQ(fake_.pin_sum(), protocol::kPinsPerBlockMax);
}

TEST_F(GpuMatchTest, WithoutItsDeviceAgainTheClientIsTheHosts) {
  Open();
  fake_.Put(NumberedKey(0));
  fake_.PutGpu(NumberedKey(0), 1);
  fake_.attachment().CloseGpu();
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(Residences(1), "H");
}

// --- groups --------------------------------------------------------------

TEST_F(GpuMatchTest, GroupsArePinnedWhereTheyLie) {
  Open();
  // Group 1 needs its last two blocks.
  for (uint64_t n = 0; n < 4; ++n) fake_.Put(NumberedKey(n));
  fake_.PutGpu(NumberedKey(3), 1);
  fake_.PutGpu(NumberedKey(102), 3);
  fake_.Put(NumberedKey(103), 1);
  const std::vector<BlockKey> first = Keys(0, 4);
  const std::vector<BlockKey> second = Keys(100, 4);
  const std::vector<GroupKeys> groups = {{0, first}, {1, second}};

  ASSERT_THAT(Matcher::MatchGroups(&fake_.attachment(), groups, &prefix_),
              IsOk());

  EXPECT_EQ(prefix_.tokens(), 64);
  EXPECT_EQ(Residences(4, 0), "HHHG");
  EXPECT_EQ(Residences(4, 1), "--GH");
  EXPECT_EQ(fake_.pin_sum(), 6);
  fake_.SetIncarnation(3, 2);
  EXPECT_THAT(prefix_.Check(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("pool 3")));
}

TEST_F(GpuMatchTest, AGroupsDroppedResidenceGivesWayToTheHosts) {
  Open();
  for (uint64_t n = 100; n < 104; ++n) {
    fake_.Put(NumberedKey(n), 1);
    fake_.PutGpu(NumberedKey(n), 3);
  }
  fake_.SetGpuState(NumberedKey(103), ResidenceState::kRetiring);
  const std::vector<BlockKey> keys = Keys(100, 4);
  const GroupKeys group{1, keys};

  ASSERT_THAT(Matcher::MatchGroups(&fake_.attachment(), {&group, 1}, &prefix_),
              IsOk());

  EXPECT_EQ(prefix_.tokens(), 64);
  EXPECT_EQ(Residences(4, 1), "--GH");
  EXPECT_EQ(fake_.pin_sum(), 2);
}

// --- a process that only decides -----------------------------------------

class AnyResidenceTest : public GpuMatchTest {
 protected:
  AnyResidenceTest() : GpuMatchTest(ResidenceUse::kAny) {}
};

TEST_F(AnyResidenceTest, TheHostsComesFirstAndEveryPoolCounts) {
  fake_.Put(NumberedKey(0));
  fake_.PutGpu(NumberedKey(0), 1);
  fake_.PutGpu(NumberedKey(1), 1);
  fake_.PutGpu(NumberedKey(2), 2);

  ASSERT_THAT(Match(Keys(0, 4)), IsOk());

  EXPECT_EQ(Residences(4), "HGG-");
  EXPECT_FALSE(prefix_.page(0).empty());
  EXPECT_TRUE(prefix_.page(1).empty());
  fake_.SetIncarnation(2, 2);
  EXPECT_THAT(prefix_.Check(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("pool 2")));
  ASSERT_THAT(Match(Keys(0, 4)), IsOk());
  EXPECT_EQ(Residences(4), "HG--");
}

TEST_F(AnyResidenceTest, AnOpenedDeviceCountsInstead) {
  Open();
  fake_.Put(NumberedKey(0));
  fake_.PutGpu(NumberedKey(0), 1);
  fake_.PutGpu(NumberedKey(1), 2);
  ASSERT_THAT(Match(Keys(0, 2)), IsOk());
  EXPECT_EQ(Residences(2), "G-");
}

}  // namespace
}  // namespace kvferry::sdk
