#include "protocol/geometry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kvferry::protocol {
namespace {

uint64_t StrideOf(const GroupSpec& group) {
  return (group.block_bytes() + kBlockAlignment - 1) / kBlockAlignment *
         kBlockAlignment;
}

}  // namespace

absl::StatusOr<Geometry> PlanGeometry(const NamespaceSpec& spec,
                                      uint64_t quota_bytes,
                                      uint64_t segment_bytes_max) {
  uint64_t bytes_of_one_each = 0;
  for (const GroupSpec& group : spec.groups) {
    bytes_of_one_each += StrideOf(group);
  }
  const uint64_t blocks_each = quota_bytes / bytes_of_one_each;
  if (blocks_each == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "quota: ", quota_bytes, " bytes hold no block (one of each group is ",
        bytes_of_one_each, " bytes)"));
  }
  if (blocks_each * spec.groups.size() > kBlocksMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("quota: ", quota_bytes, " bytes hold ",
                     blocks_each * spec.groups.size(), " blocks, the limit is ",
                     kBlocksMax));
  }
  Geometry geometry;
  for (const GroupSpec& group : spec.groups) {
    GroupRecord record{};
    record.block_tokens = group.block_tokens;
    record.slice_count = group.slice_count;
    record.page_bytes = group.page_bytes();
    record.stride_bytes = StrideOf(group);
    record.first_block = geometry.block_capacity;
    record.block_count = static_cast<uint32_t>(blocks_each);
    record.blocks_per_segment = static_cast<uint32_t>(std::max<uint64_t>(
        1,
        std::min(segment_bytes_max, kSegmentBytesMax) / record.stride_bytes));
    record.hit_rule = static_cast<uint32_t>(group.rule);
    record.trailing_blocks = group.trailing_blocks;
    record.layer_count = group.layer_count;
    record.kv_count = group.kv_count;
    record.head_count = group.head_count;
    record.head_bytes = group.head_bytes;
    geometry.block_capacity += record.block_count;
    geometry.groups.push_back(record);
  }
  geometry.host_blocks = geometry.block_capacity;
  geometry.bucket_count = BucketCountFor(geometry.host_blocks);
  return geometry;
}

absl::Status AddGpuPools(const std::vector<GpuQuota>& quotas,
                         Geometry* geometry) {
  uint64_t bytes_of_one_each = 0;
  for (const GroupRecord& group : geometry->groups) {
    bytes_of_one_each += group.stride_bytes;
  }
  for (const GpuQuota& quota : quotas) {
    const uint64_t blocks_each = quota.bytes / bytes_of_one_each;
    if (blocks_each == 0) continue;
    for (uint32_t g = 0; g < geometry->groups.size(); ++g) {
      const GroupRecord& group = geometry->groups[g];
      GpuPoolPlan pool;
      pool.device_uuid = quota.device_uuid;
      pool.device = quota.device;
      pool.group = g;
      pool.first_block = geometry->block_capacity;
      pool.block_count = static_cast<uint32_t>(
          std::min<uint64_t>(blocks_each, group.block_count));
      pool.bytes = pool.block_count * group.stride_bytes;
      if (uint64_t{geometry->block_capacity} + pool.block_count > kBlocksMax) {
        return absl::InvalidArgumentError(absl::StrCat(
            "GPU pools: ", geometry->block_capacity, " blocks and ",
            pool.block_count, " more, the limit is ", kBlocksMax));
      }
      geometry->block_capacity += pool.block_count;
      geometry->gpu_pools.push_back(pool);
    }
  }
  if (geometry->gpu_pools.size() > kGpuPoolsMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GPU pools: ", geometry->gpu_pools.size(), " of ",
        geometry->groups.size(), " groups, the limit is ", kGpuPoolsMax));
  }
  return absl::OkStatus();
}

std::vector<SegmentPlan> PlanSegments(const Geometry& geometry) {
  std::vector<SegmentPlan> plans;
  bool more = true;
  for (uint32_t round = 0; more; ++round) {
    more = false;
    for (uint32_t g = 0; g < geometry.groups.size(); ++g) {
      const GroupRecord& group = geometry.groups[g];
      const uint64_t first = uint64_t{round} * group.blocks_per_segment;
      if (first >= group.block_count) continue;
      more = true;
      SegmentPlan plan;
      plan.group = g;
      plan.first_block = group.first_block + static_cast<uint32_t>(first);
      plan.block_count = static_cast<uint32_t>(std::min<uint64_t>(
          group.blocks_per_segment, group.block_count - first));
      plan.bytes = plan.block_count * group.stride_bytes;
      plan.segment = static_cast<uint32_t>(plans.size());
      plans.push_back(plan);
    }
  }
  return plans;
}

}  // namespace kvferry::protocol
