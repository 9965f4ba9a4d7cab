#ifndef KVFERRY_PROTOCOL_GEOMETRY_H_
#define KVFERRY_PROTOCOL_GEOMETRY_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvferry/layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::protocol {

// Blocks of one group on one device.
struct GpuPoolPlan {
  std::array<uint8_t, 16> device_uuid{};
  uint32_t device = 0;  // its number in the daemon's list
  uint32_t group = 0;
  uint32_t first_block = 0;
  uint32_t block_count = 0;
  uint64_t bytes = 0;
};

// Where the blocks of a namespace lie, computed alike by daemon and SDK from
// the specification and the quota.
struct Geometry {
  std::vector<GroupRecord> groups;
  // Pool number p of records and messages is gpu_pools[p - 1].
  std::vector<GpuPoolPlan> gpu_pools;
  uint32_t host_blocks = 0;     // numbers below it are in host memory
  uint32_t block_capacity = 0;  // with those of the GPU pools
  uint32_t bucket_count = 0;    // every key has a host block: for those
};

// One segment: `block_count` blocks of a group, stride apart, from offset 0.
struct SegmentPlan {
  uint32_t segment = 0;  // number in the namespace
  uint32_t group = 0;
  uint32_t first_block = 0;
  uint32_t block_count = 0;
  uint64_t bytes = 0;
};

// Splits `quota_bytes` over the groups so that each has the same number of
// blocks (a prompt needs one of each per block_tokens, rounded), and cuts them
// into segments of at most `segment_bytes_max`.
// Errors  kInvalidArgument  the quota does not hold one block of each group,
//                           or holds more than kBlocksMax
absl::StatusOr<Geometry> PlanGeometry(
    const NamespaceSpec& spec, uint64_t quota_bytes,
    uint64_t segment_bytes_max = kSegmentBytesMax);

// What a device gives to the namespace.
struct GpuQuota {
  std::array<uint8_t, 16> device_uuid{};
  uint32_t device = 0;
  uint64_t bytes = 0;
};

// Adds a pool for each group and device, with as many blocks of each group,
// but not more than the group has in host memory. A device whose bytes hold no
// block of each gets none.
// Errors  kInvalidArgument  more than kGpuPoolsMax pools, or kBlocksMax blocks
absl::Status AddGpuPools(const std::vector<GpuQuota>& quotas,
                         Geometry* geometry);

// Every segment of the geometry, groups interleaved so that all of them have
// memory early.
std::vector<SegmentPlan> PlanSegments(const Geometry& geometry);

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_GEOMETRY_H_
