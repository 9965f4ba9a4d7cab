#ifndef KVFERRY_DAEMON_CORE_GPU_POOL_H_
#define KVFERRY_DAEMON_CORE_GPU_POOL_H_

#include <cstdint>

namespace kvferry::core {

// What the core knows of a GPU pool beside its blocks, which are an area of the
// BlockTable.
struct GpuPool {
  uint32_t number = 0;  // in messages and records, from 1
  uint32_t device = 0;
  uint32_t group = 0;
  uint32_t area = 0;
  uint32_t high_blocks = 0;  // GpuPolicy, in blocks of the pool
  uint32_t low_blocks = 0;
  bool up = false;
  // GpuPoolCounts
  uint64_t written_behind = 0;
  uint64_t dropped = 0;
  uint64_t promoted = 0;
  uint64_t spilled = 0;
  uint64_t lost = 0;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_GPU_POOL_H_
