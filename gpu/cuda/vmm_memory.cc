#include "gpu/cuda/vmm_memory.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"
#include "gpu/cuda/own_exports.h"

namespace kvferry::gpu {
namespace {

CUmemAllocationProp PropertiesFor(int ordinal) {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = ordinal;
  return properties;
}

// What sizes and addresses are multiples of. The GPUs of a machine agree (2
// MiB), so that whoever imports memory rounds as its owner did.
absl::StatusOr<uint64_t> Granularity(CudaContext* context) {
  const CUmemAllocationProp properties = PropertiesFor(context->ordinal());
  size_t granularity = 0;
  KVFERRY_RETURN_IF_ERROR(context->Check(
      context->driver().MemGetAllocationGranularity(
          &granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
      "cuMemGetAllocationGranularity"));
  return granularity;
}

uint64_t RoundUp(uint64_t bytes, uint64_t granularity) {
  return (bytes + granularity - 1) / granularity * granularity;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceMemory>> VmmMemory::Create(
    std::shared_ptr<CudaContext> context, uint64_t bytes) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  KVFERRY_ASSIGN_OR_RETURN(const uint64_t granularity,
                           Granularity(context.get()));
  const CUmemAllocationProp properties = PropertiesFor(context->ordinal());
  std::unique_ptr<VmmMemory> memory(new VmmMemory(context));
  KVFERRY_RETURN_IF_ERROR(context->Check(
      context->driver().MemCreate(&memory->handle_, RoundUp(bytes, granularity),
                                  &properties, 0),
      "cuMemCreate"));
  memory->has_handle_ = true;
  KVFERRY_RETURN_IF_ERROR(memory->Map(bytes));
  // Some sandboxes have the memory but not the descriptor.
  KVFERRY_RETURN_IF_ERROR(memory->ExportDescriptor().status());
  return memory;
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> VmmMemory::Import(
    std::shared_ptr<CudaContext> context, int fd, uint64_t bytes) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  std::unique_ptr<VmmMemory> memory(new VmmMemory(context));
  memory->imported_ = true;
  const CudaDriver& driver = context->driver();
  // The driver takes the descriptor's number for a pointer.
  KVFERRY_RETURN_IF_ERROR(context->Check(
      driver.MemImport(&memory->handle_,
                       reinterpret_cast<void*>(static_cast<uintptr_t>(fd)),
                       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
      "cuMemImportFromShareableHandle"));
  memory->has_handle_ = true;
  // For a plain answer where there can be one: without it, cuMemSetAccess
  // refuses what cannot be reached.
  CUmemAllocationProp properties = {};
  if (driver.MemGetAllocationProperties(&properties, memory->handle_) ==
          CUDA_SUCCESS &&
      properties.location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
      properties.location.id != context->ordinal()) {
    int reachable = 0;
    KVFERRY_RETURN_IF_ERROR(
        context->Check(cudaDeviceCanAccessPeer(&reachable, context->ordinal(),
                                               properties.location.id),
                       "cudaDeviceCanAccessPeer"));
    if (reachable == 0) {
      return absl::UnimplementedError(absl::StrCat(
          "gpu: device ", context->ordinal(), " cannot reach memory of device ",
          properties.location.id));
    }
  }
  KVFERRY_RETURN_IF_ERROR(memory->Map(bytes));
  return memory;
}

absl::Status VmmMemory::Map(uint64_t bytes) {
  const CudaDriver& driver = context_->driver();
  KVFERRY_ASSIGN_OR_RETURN(const uint64_t granularity,
                           Granularity(context_.get()));
  // As whoever made it rounded: a mapping covers the memory exactly.
  range_bytes_ = RoundUp(bytes, granularity);
  KVFERRY_RETURN_IF_ERROR(context_->Check(
      driver.MemAddressReserve(&range_, range_bytes_, granularity, 0, 0),
      "cuMemAddressReserve"));
  KVFERRY_RETURN_IF_ERROR(context_->Check(
      driver.MemMap(range_, range_bytes_, 0, handle_, 0), "cuMemMap"));
  mapped_ = true;
  CUmemAccessDesc access = {};
  access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  access.location.id = context_->ordinal();
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  KVFERRY_RETURN_IF_ERROR(context_->Check(
      driver.MemSetAccess(range_, range_bytes_, &access, 1), "cuMemSetAccess"));
  address_ = reinterpret_cast<std::byte*>(static_cast<uintptr_t>(range_));
  bytes_ = bytes;
  return absl::OkStatus();
}

VmmMemory::~VmmMemory() {
  const CudaScope scope(context_.get());
  // A broken context is left alone: the memory goes with the process.
  if (!scope.status().ok()) return;
  const CudaDriver& driver = context_->driver();
  if (mapped_) (void)driver.MemUnmap(range_, range_bytes_);
  if (range_ != 0) (void)driver.MemAddressFree(range_, range_bytes_);
  if (has_handle_) (void)driver.MemRelease(handle_);
}

absl::StatusOr<UniqueFd> VmmMemory::ExportDescriptor() const {
  int fd = -1;
  KVFERRY_RETURN_IF_ERROR(context_->Check(
      context_->driver().MemExport(&fd, handle_,
                                   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
      "cuMemExportToShareableHandle"));
  return UniqueFd(fd);
}

absl::StatusOr<ExportedMemory> VmmMemory::Export() const {
  if (imported_) {
    return absl::FailedPreconditionError(
        "gpu: imported memory is its owner's to export");
  }
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  OwnExports::Note();
  ExportedMemory exported;
  KVFERRY_ASSIGN_OR_RETURN(exported.fd, ExportDescriptor());
  exported.kind = ExportedMemory::Kind::kDescriptor;
  exported.bytes = bytes_;
  exported.owner_pid = ::getpid();
  return exported;
}

}  // namespace kvferry::gpu
