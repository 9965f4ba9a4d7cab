#ifndef KVFERRY_SDK_GPU_COPY_WAY_H_
#define KVFERRY_SDK_GPU_COPY_WAY_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "gpu/device.h"

namespace kvferry::sdk {

// Which way a transfer goes, as the engine sees it.
enum class CopyWay : uint8_t { kIn = 0, kOut = 1 };

// Queues the copies of pages into the engine's blocks, or out of them.
inline absl::Status QueueCopies(gpu::Device* device, CopyWay way,
                                const gpu::PreparedLayout& layout,
                                gpu::LayerRange layers,
                                std::span<const gpu::PageTransfer> pages,
                                void* stream) {
  return way == CopyWay::kIn ? device->Scatter(layout, layers, pages, stream)
                             : device->Gather(layout, layers, pages, stream);
}

// Bytes of `layers` layers of one page.
inline uint64_t LayerBytes(const gpu::PreparedLayout& layout, uint32_t layers) {
  const GroupSpec& group = layout.layout().group;
  return group.page_bytes() / group.layer_count * layers;
}

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_COPY_WAY_H_
