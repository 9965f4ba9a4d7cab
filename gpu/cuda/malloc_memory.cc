#include "gpu/cuda/malloc_memory.h"

#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"
#include "gpu/cuda/own_exports.h"

namespace kvferry::gpu {
namespace {

// cudaMalloc hands out parts of pages of this size, and a handle gives access
// to the whole page: nothing else may lie in ours.
constexpr uint64_t kIpcPageBytes = uint64_t{2} << 20;

absl::StatusOr<cudaIpcMemHandle_t> HandleOf(CudaContext* context,
                                            void* address) {
  cudaIpcMemHandle_t handle;
  KVFERRY_RETURN_IF_ERROR(context->Check(cudaIpcGetMemHandle(&handle, address),
                                         "cudaIpcGetMemHandle"));
  return handle;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceMemory>> MallocMemory::Create(
    std::shared_ptr<CudaContext> context, uint64_t bytes, bool exportable) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  const uint64_t taken =
      exportable ? (bytes + kIpcPageBytes - 1) / kIpcPageBytes * kIpcPageBytes
                 : bytes;
  void* address = nullptr;
  KVFERRY_RETURN_IF_ERROR(
      context->Check(cudaMalloc(&address, taken), "cudaMalloc"));
  CudaContext* const checked = context.get();
  std::unique_ptr<DeviceMemory> memory(
      new MallocMemory(std::move(context), address, bytes, exportable));
  // Now rather than when somebody asks for it.
  if (exportable) {
    KVFERRY_RETURN_IF_ERROR(HandleOf(checked, address).status());
  }
  return memory;
}

MallocMemory::MallocMemory(std::shared_ptr<CudaContext> context, void* address,
                           uint64_t bytes, bool exportable)
    : context_(std::move(context)), exportable_(exportable) {
  address_ = static_cast<std::byte*>(address);
  bytes_ = bytes;
}

MallocMemory::~MallocMemory() {
  const CudaScope scope(context_.get());
  if (!scope.status().ok()) return;
  (void)context_->Check(cudaFree(address_), "cudaFree");
}

absl::StatusOr<ExportedMemory> MallocMemory::Export() const {
  if (!exportable_) {
    return absl::FailedPreconditionError(
        "gpu: memory that was made for this process alone");
  }
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  OwnExports::Note();
  KVFERRY_ASSIGN_OR_RETURN(const cudaIpcMemHandle_t handle,
                           HandleOf(context_.get(), address_));
  ExportedMemory exported;
  exported.kind = ExportedMemory::Kind::kHandle;
  exported.handle.resize(sizeof(handle));
  std::memcpy(exported.handle.data(), &handle, sizeof(handle));
  exported.bytes = bytes_;
  exported.owner_pid = ::getpid();
  return exported;
}

}  // namespace kvferry::gpu
