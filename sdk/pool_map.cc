#include "sdk/pool_map.h"

#include <algorithm>
#include <iterator>

namespace kvferry::sdk {

PoolMap::PoolMap(const protocol::IndexHeader& header)
    : host_blocks_(header.host_blocks),
      pool_count_(std::min(header.gpu_pool_count, protocol::kGpuPoolsMax)) {
  for (uint32_t i = 0; i < pool_count_; ++i) {
    const protocol::GpuPoolRecord& record = header.gpu_pools[i];
    Pool& pool = pools_[i];
    pool.group = record.group;
    pool.device = record.device;
    pool.first_block = record.first_block;
    pool.block_count = record.block_count;
    pool.stride_bytes = header.groups[record.group].stride_bytes;
    std::copy(std::begin(record.device_uuid), std::end(record.device_uuid),
              pool.device_uuid.begin());
  }
}

}  // namespace kvferry::sdk
