#include "protocol/geometry.h"

#include "gmock/gmock.h"
#include "protocol/spec.h"
#include "tests/support/status_matchers.h"

namespace kvferry::protocol {
namespace {

using test::IsOk;
using test::StatusIs;

NamespaceSpec TwoGroups() {
  NamespaceSpec spec;
  spec.name = "two";
  spec.groups = {OpaqueGroup(16, 65536, 4), OpaqueGroup(64, 5000, 1)};
  spec.groups[1].block_tokens = 8;
  spec.groups[1].head_bytes = 625;
  return spec;
}

TEST(GeometryTest, EveryGroupHasAsManyBlocks) {
  // One of each takes 256 KiB and, rounded up, 8 KiB.
  auto geometry = PlanGeometry(TwoGroups(), 100 * (262144 + 8192) + 5);
  ASSERT_THAT(geometry, IsOk());
  EXPECT_EQ(geometry->groups[0].block_count, 100u);
  EXPECT_EQ(geometry->groups[0].stride_bytes, 262144u);
  EXPECT_EQ(geometry->groups[1].block_count, 100u);
  EXPECT_EQ(geometry->groups[1].stride_bytes, 8192u);
  EXPECT_EQ(geometry->groups[1].first_block, 100u);
  EXPECT_EQ(geometry->block_capacity, 200u);
}

TEST(GeometryTest, SegmentsCoverEveryBlockOnceAndNoneIsTooLarge) {
  auto geometry =
      PlanGeometry(TwoGroups(), 100 * (262144 + 8192), /*segment*/ 1 << 20);
  ASSERT_THAT(geometry, IsOk());
  std::vector<int> covered(geometry->block_capacity, 0);
  const auto plans = PlanSegments(*geometry);
  for (const SegmentPlan& plan : plans) {
    EXPECT_LE(plan.bytes, uint64_t{1} << 20);
    EXPECT_EQ(plan.bytes,
              plan.block_count * geometry->groups[plan.group].stride_bytes);
    for (uint32_t b = 0; b < plan.block_count; ++b) {
      ++covered[plan.first_block + b];
    }
  }
  EXPECT_THAT(covered, testing::Each(1));
  // Both groups have memory after two segments.
  EXPECT_NE(plans[0].group, plans[1].group);
}

TEST(GeometryTest, ABlockLargerThanASegmentIsASegmentOfItsOwn) {
  NamespaceSpec spec;
  spec.groups = {OpaqueGroup(1, 8 << 20)};
  auto geometry = PlanGeometry(spec, uint64_t{64} << 20, 1 << 20);
  ASSERT_THAT(geometry, IsOk());
  EXPECT_EQ(geometry->groups[0].blocks_per_segment, 1u);
  EXPECT_EQ(PlanSegments(*geometry).size(), 8u);
}

TEST(GeometryTest, TooLittleAndTooMuchAreNamed) {
  EXPECT_THAT(PlanGeometry(TwoGroups(), 1000),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::HasSubstr("1000 bytes hold no block")));
  NamespaceSpec tiny;
  tiny.groups = {OpaqueGroup(1, 4096)};
  EXPECT_THAT(PlanGeometry(tiny, uint64_t{1} << 42),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::HasSubstr("the limit is")));
}

TEST(SpecTest, TheFingerprintCoversEverythingButTheName) {
  const NamespaceSpec base = TwoGroups();
  NamespaceSpec renamed = base;
  renamed.name = "other";
  EXPECT_EQ(FingerprintOf(base), FingerprintOf(renamed));
  EXPECT_NE(SaltOf(FingerprintOf(base), "a"), SaltOf(FingerprintOf(base), "b"));

  std::vector<NamespaceSpec> changed(12, base);
  changed[0].model = "m";
  changed[1].revision = "r";
  changed[2].dtype = "d";
  changed[3].groups[0].name = "n";
  changed[4].groups[0].block_tokens = 17;
  changed[5].groups[0].layer_count = 2;
  changed[6].groups[0].kv_count = 2;
  changed[7].groups[0].head_count = 2;
  changed[8].groups[0].head_bytes = 1;
  changed[9].groups[0].slice_count = 2;
  changed[10].groups[0].rule = HitRule::kCheckpoint;
  changed[11].groups.pop_back();
  for (size_t i = 0; i < changed.size(); ++i) {
    EXPECT_NE(FingerprintOf(changed[i]), FingerprintOf(base)) << i;
    EXPECT_NE(DescribeDifference(changed[i], base), "") << i;
    for (size_t j = 0; j < i; ++j) {
      EXPECT_NE(FingerprintOf(changed[i]), FingerprintOf(changed[j]));
    }
  }
  EXPECT_EQ(DescribeDifference(base, base), "");
}

TEST(SpecTest, SurvivesTheWire) {
  NamespaceSpec spec = TwoGroups();
  spec.model = "llama";
  spec.revision = "main";
  spec.dtype = "bf16";
  spec.groups[1].rule = HitRule::kTrailing;
  spec.groups[1].trailing_blocks = 3;
  EXPECT_EQ(FromWire(ToWire(spec)), spec);
}

}  // namespace
}  // namespace kvferry::protocol
