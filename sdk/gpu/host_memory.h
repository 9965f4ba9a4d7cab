#ifndef KVFERRY_SDK_GPU_HOST_MEMORY_H_
#define KVFERRY_SDK_GPU_HOST_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "sdk/attachment.h"

namespace kvferry::sdk {

// The segments of one attachment as the device reaches them: those that are
// registered by now. Keeps the attachment mapped as long as it lives, so that
// nothing is unmapped while it is registered.
//
// Threads  RegisterNew: one at a time. The rest: any.
class HostMemory {
 public:
  HostMemory(std::shared_ptr<Attachment> attachment, gpu::Device* device)
      : attachment_(std::move(attachment)), device_(device) {}
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  const std::shared_ptr<Attachment>& attachment() const { return attachment_; }

  // Registers segments that came since. One that cannot be is left to staging,
  // and not tried again.
  // Blocking  as Device::RegisterHost, for each
  void RegisterNew();

  // Where the device sees [host, host + bytes); null: it does not.
  std::byte* DeviceAddress(const std::byte* host, uint64_t bytes) const;

 private:
  struct Segment {
    const std::byte* base = nullptr;
    uint64_t bytes = 0;
    std::unique_ptr<gpu::HostRegistration> registration;  // null: refused
  };
  static bool StartsAfter(const std::byte* address, const Segment& segment) {
    return address < segment.base;
  }

  const std::shared_ptr<Attachment> attachment_;
  gpu::Device* const device_;
  uint32_t taken_ = 0;  // RegisterNew's

  mutable Mutex mutex_;
  // By base; entries are added, never changed.
  std::vector<Segment> segments_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_HOST_MEMORY_H_
