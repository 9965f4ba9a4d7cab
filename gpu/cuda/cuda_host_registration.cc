#include "gpu/cuda/cuda_host_registration.h"

#include <utility>

#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"

namespace kvferry::gpu {

absl::StatusOr<std::unique_ptr<HostRegistration>> CudaHostRegistration::Create(
    std::shared_ptr<CudaContext> context, std::byte* address, uint64_t bytes,
    bool read_only) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  // Portable: an engine's other devices may copy from it, too.
  unsigned int flags = cudaHostRegisterMapped | cudaHostRegisterPortable;
  if (read_only) flags |= cudaHostRegisterReadOnly;
  KVFERRY_RETURN_IF_ERROR(context->Check(
      cudaHostRegister(address, bytes, flags), "cudaHostRegister"));
  std::unique_ptr<CudaHostRegistration> registration(
      new CudaHostRegistration(std::move(context), address, bytes));
  KVFERRY_RETURN_IF_ERROR(registration->FindDeviceAddress());
  return registration;
}

CudaHostRegistration::CudaHostRegistration(std::shared_ptr<CudaContext> context,
                                           std::byte* address, uint64_t bytes)
    : context_(std::move(context)), address_(address), bytes_(bytes) {}

absl::Status CudaHostRegistration::FindDeviceAddress() {
  void* device_address = nullptr;
  KVFERRY_RETURN_IF_ERROR(
      context_->Check(cudaHostGetDevicePointer(&device_address, address_, 0),
                      "cudaHostGetDevicePointer"));
  device_address_ = static_cast<std::byte*>(device_address);
  context_->AddHostRange(device_address_, bytes_);
  return absl::OkStatus();
}

CudaHostRegistration::~CudaHostRegistration() {
  if (device_address_ != nullptr) context_->RemoveHostRange(device_address_);
  const CudaScope scope(context_.get());
  if (!scope.status().ok()) return;
  (void)context_->Check(cudaHostUnregister(address_), "cudaHostUnregister");
}

}  // namespace kvferry::gpu
