#ifndef KVFERRY_GPU_CUDA_IPC_IMPORT_H_
#define KVFERRY_GPU_CUDA_IPC_IMPORT_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// Another process's memory by its CUDA IPC handle. The driver maps it once a
// context and counts: two imports of the same memory have one address.
class IpcImport : public DeviceMemory {
 public:
  // Errors  as Device::Import
  static absl::StatusOr<std::unique_ptr<DeviceMemory>> Open(
      std::shared_ptr<CudaContext> context, std::span<const uint8_t> handle,
      uint64_t bytes);
  ~IpcImport() override;

  absl::StatusOr<ExportedMemory> Export() const override;

 private:
  IpcImport(std::shared_ptr<CudaContext> context, void* address,
            uint64_t bytes);

  const std::shared_ptr<CudaContext> context_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_IPC_IMPORT_H_
