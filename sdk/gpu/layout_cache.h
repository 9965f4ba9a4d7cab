#ifndef KVFERRY_SDK_GPU_LAYOUT_CACHE_H_
#define KVFERRY_SDK_GPU_LAYOUT_CACHE_H_

#include <cstdint>
#include <deque>
#include <memory>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "kvferry/paged.h"

namespace kvferry::sdk {

// What the device made of the engine's paged memories: an engine has a few, and
// names the same ones in every call. The least recently used make room.
//
// Threads  any number
class LayoutCache {
 public:
  explicit LayoutCache(gpu::Device* device) : device_(device) {}
  LayoutCache(const LayoutCache&) = delete;
  LayoutCache& operator=(const LayoutCache&) = delete;

  // Keep it until the work that uses it is over.
  // Errors  as Device::Prepare
  absl::StatusOr<std::shared_ptr<const gpu::PreparedLayout>> Get(
      const PagedMemory& memory);

 private:
  struct Entry {
    PagedMemory memory;  // a copy: its options stay where they are
    std::shared_ptr<const gpu::PreparedLayout> layout;
  };

  static constexpr size_t kEntriesMax = 64;

  gpu::Device* const device_;
  Mutex mutex_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // last used first
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_LAYOUT_CACHE_H_
