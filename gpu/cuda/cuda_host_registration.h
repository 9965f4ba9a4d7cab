#ifndef KVFERRY_GPU_CUDA_CUDA_HOST_REGISTRATION_H_
#define KVFERRY_GPU_CUDA_CUDA_HOST_REGISTRATION_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// Host memory that is locked and in the device's address space.
class CudaHostRegistration : public HostRegistration {
 public:
  // Errors  as Device::RegisterHost; kUnimplemented for read_only where the
  //         device cannot
  static absl::StatusOr<std::unique_ptr<HostRegistration>> Create(
      std::shared_ptr<CudaContext> context, std::byte* address, uint64_t bytes,
      bool read_only);
  ~CudaHostRegistration() override;

 private:
  CudaHostRegistration(std::shared_ptr<CudaContext> context, std::byte* address,
                       uint64_t bytes);

  absl::Status FindDeviceAddress();

  const std::shared_ptr<CudaContext> context_;
  std::byte* const address_;
  const uint64_t bytes_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_HOST_REGISTRATION_H_
