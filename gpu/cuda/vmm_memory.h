#ifndef KVFERRY_GPU_CUDA_VMM_MEMORY_H_
#define KVFERRY_GPU_CUDA_VMM_MEMORY_H_

#include <cuda.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// Physical memory and an address range that is mapped to it (CUDA's virtual
// memory management). It is passed on as a descriptor, which keeps the memory
// alive by itself, and works between PID namespaces.
class VmmMemory : public DeviceMemory {
 public:
  // New memory of the context's device. Exports once to see that it can.
  // Errors  as Device::Allocate
  static absl::StatusOr<std::unique_ptr<DeviceMemory>> Create(
      std::shared_ptr<CudaContext> context, uint64_t bytes);
  // Another process's, of this device or a peer of it. `fd` stays the caller's.
  // Errors  as Device::Import
  static absl::StatusOr<std::unique_ptr<DeviceMemory>> Import(
      std::shared_ptr<CudaContext> context, int fd, uint64_t bytes);
  ~VmmMemory() override;

  absl::StatusOr<ExportedMemory> Export() const override;

 private:
  explicit VmmMemory(std::shared_ptr<CudaContext> context)
      : context_(std::move(context)) {}

  // Reserves addresses for `bytes` of handle_, maps them, and lets the device
  // read and write them.
  absl::Status Map(uint64_t bytes);
  absl::StatusOr<UniqueFd> ExportDescriptor() const;

  const std::shared_ptr<CudaContext> context_;
  // What of it there is, in the order in which it came to be.
  bool has_handle_ = false;
  bool mapped_ = false;
  bool imported_ = false;
  CUmemGenericAllocationHandle handle_ = 0;
  CUdeviceptr range_ = 0;
  uint64_t range_bytes_ = 0;  // bytes(), rounded up
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_VMM_MEMORY_H_
