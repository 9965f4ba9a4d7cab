#ifndef KVFERRY_SDK_POOL_MAP_H_
#define KVFERRY_SDK_POOL_MAP_H_

#include <array>
#include <cstdint>

#include "protocol/limits.h"
#include "protocol/shm_layout.h"

namespace kvferry::sdk {

// Which pool a block number belongs to: 0 is the host, p >= 1 is
// IndexHeader::gpu_pools[p - 1]. A copy of what never changes, which
// OpenSessionFiles has checked.
//
// Threads  any number
class PoolMap {
 public:
  struct Pool {
    uint32_t group = 0;
    uint32_t device = 0;  // its number in the daemon's list
    uint32_t first_block = 0;
    uint32_t block_count = 0;
    uint64_t stride_bytes = 0;
    std::array<uint8_t, 16> device_uuid{};
  };

  PoolMap() = default;
  explicit PoolMap(const protocol::IndexHeader& header);

  uint32_t host_blocks() const { return host_blocks_; }
  // GPU pools; their numbers are [1, pool_count()].
  uint32_t pool_count() const { return pool_count_; }
  // REQUIRES  1 <= pool <= pool_count()
  const Pool& pool(uint32_t pool) const { return pools_[pool - 1]; }

  // Of a number that may come out of shared memory: 0 also for one that is no
  // block's.
  uint32_t PoolOf(uint32_t block) const {
    if (block < host_blocks_) return 0;
    for (uint32_t i = 0; i < pool_count_; ++i) {
      if (block - pools_[i].first_block < pools_[i].block_count) return i + 1;
    }
    return 0;
  }
  // A pool's number out of a message.
  bool IsPoolOf(uint32_t pool, uint32_t group) const {
    return pool >= 1 && pool <= pool_count_ && pools_[pool - 1].group == group;
  }
  // Whether a GPU has the block, and it is one of the group's.
  bool InGpu(uint32_t group, uint32_t block) const {
    const uint32_t pool = PoolOf(block);
    return pool != 0 && pools_[pool - 1].group == group;
  }
  // Where the block begins in its pool's memory.
  // REQUIRES  PoolOf(block) != 0
  uint64_t OffsetOf(uint32_t block) const {
    const Pool& pool = pools_[PoolOf(block) - 1];
    return uint64_t{block - pool.first_block} * pool.stride_bytes;
  }

 private:
  uint32_t host_blocks_ = 0;
  uint32_t pool_count_ = 0;
  std::array<Pool, protocol::kGpuPoolsMax> pools_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_POOL_MAP_H_
