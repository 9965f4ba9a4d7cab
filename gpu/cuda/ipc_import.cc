#include "gpu/cuda/ipc_import.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"

namespace kvferry::gpu {

absl::StatusOr<std::unique_ptr<DeviceMemory>> IpcImport::Open(
    std::shared_ptr<CudaContext> context, std::span<const uint8_t> handle,
    uint64_t bytes) {
  cudaIpcMemHandle_t native;
  if (handle.size() != sizeof(native)) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: an IPC handle of ", handle.size(),
                     " bytes, CUDA's have ", sizeof(native)));
  }
  std::memcpy(&native, handle.data(), sizeof(native));
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  void* address = nullptr;
  KVFERRY_RETURN_IF_ERROR(context->Check(
      cudaIpcOpenMemHandle(&address, native, cudaIpcMemLazyEnablePeerAccess),
      "cudaIpcOpenMemHandle"));
  return std::unique_ptr<DeviceMemory>(
      new IpcImport(std::move(context), address, bytes));
}

IpcImport::IpcImport(std::shared_ptr<CudaContext> context, void* address,
                     uint64_t bytes)
    : context_(std::move(context)) {
  address_ = static_cast<std::byte*>(address);
  bytes_ = bytes;
}

IpcImport::~IpcImport() {
  const CudaScope scope(context_.get());
  if (!scope.status().ok()) return;
  (void)context_->Check(cudaIpcCloseMemHandle(address_),
                        "cudaIpcCloseMemHandle");
}

absl::StatusOr<ExportedMemory> IpcImport::Export() const {
  return absl::FailedPreconditionError(
      "gpu: imported memory is its owner's to export");
}

}  // namespace kvferry::gpu
