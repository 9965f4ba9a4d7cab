#ifndef KVFERRY_GPU_CUDA_MALLOC_MEMORY_H_
#define KVFERRY_GPU_CUDA_MALLOC_MEMORY_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// Memory of cudaMalloc: this process's alone, or passed on by a CUDA IPC
// handle, which needs both processes in one PID namespace and dies with this
// one.
class MallocMemory : public DeviceMemory {
 public:
  // Errors  as Device::Allocate
  static absl::StatusOr<std::unique_ptr<DeviceMemory>> Create(
      std::shared_ptr<CudaContext> context, uint64_t bytes, bool exportable);
  ~MallocMemory() override;

  absl::StatusOr<ExportedMemory> Export() const override;

 private:
  MallocMemory(std::shared_ptr<CudaContext> context, void* address,
               uint64_t bytes, bool exportable);

  const std::shared_ptr<CudaContext> context_;
  const bool exportable_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_MALLOC_MEMORY_H_
