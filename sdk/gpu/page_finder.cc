#include "sdk/gpu/page_finder.h"

namespace kvferry::sdk {

BlockPlace PageFinder::Find(uint32_t group, uint32_t block,
                            uint32_t incarnation) {
  const GpuPools& pools = attachment_->gpu_pools();
  const protocol::GroupRecord& record = attachment_->segments().group(group);
  const uint64_t bytes = record.page_bytes * record.slice_count;
  const uint32_t pool = pools.PoolOf(block);
  if (pool != 0) {
    if (!pools.map().InGpu(group, block)) return {};
    std::shared_ptr<const GpuPools::Imported>& memory = pools_[pool - 1];
    if (memory == nullptr) memory = pools.Find(pool);
    if (memory == nullptr ||
        (incarnation != 0 && memory->incarnation != incarnation)) {
      return {};
    }
    const uint64_t offset = pools.OffsetOf(block);
    if (offset > memory->memory->bytes() ||
        bytes > memory->memory->bytes() - offset) {
      return {};
    }
    return {pool == pools.OwnPool(group) ? BlockHome::kOwnPool
                                         : BlockHome::kPeerPool,
            memory->memory->address() + offset};
  }
  if (!attachment_->segments().InGroup(group, block) ||
      !attachment_->MapSegmentOf(group, block)) {
    return {};
  }
  std::byte* const host = attachment_->segments().Address(group, block);
  if (host_ != nullptr && host_->attachment().get() == attachment_) {
    std::byte* const seen = host_->DeviceAddress(host, bytes);
    if (seen != nullptr) return {BlockHome::kHost, seen};
  }
  found_staged_ = true;
  return {BlockHome::kStaged, host};
}

}  // namespace kvferry::sdk
