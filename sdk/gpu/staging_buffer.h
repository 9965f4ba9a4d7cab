#ifndef KVFERRY_SDK_GPU_STAGING_BUFFER_H_
#define KVFERRY_SDK_GPU_STAGING_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gpu/device.h"

namespace kvferry::sdk {

// Memory that pages are copied through when the device does not reach the
// namespace's own: host memory of this process that is registered, which the
// processor fills and the device reads by itself; or, where nothing can be
// registered, memory of the device's, which is filled by copies.
//
// Threads  one at a time
class StagingBuffer {
 public:
  // Errors  kResourceExhausted  neither is to be had
  static absl::StatusOr<std::unique_ptr<StagingBuffer>> Create(
      gpu::Device* device, uint64_t bytes);
  ~StagingBuffer();
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;

  // Null when it is the device's.
  std::byte* host() const { return host_; }
  std::byte* device() const { return device_; }

 private:
  explicit StagingBuffer(uint64_t bytes) : bytes_(bytes) {}

  const uint64_t bytes_;
  std::byte* host_ = nullptr;
  std::byte* device_ = nullptr;
  void* mapped_ = nullptr;
  std::unique_ptr<gpu::HostRegistration> registration_;
  std::unique_ptr<gpu::DeviceMemory> memory_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_STAGING_BUFFER_H_
