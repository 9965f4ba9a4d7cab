#include "gpu/cuda/cuda_context.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/cuda/cuda_error.h"

namespace kvferry::gpu {

absl::StatusOr<std::shared_ptr<CudaContext>> CudaContext::Retain(
    const CudaDriver& driver, int ordinal) {
  const auto refused = [&](CUresult result, const char* what) {
    return absl::UnavailableError(
        CudaStatus(result, absl::StrCat("gpu: device ", ordinal, ": ", what))
            .message());
  };
  CUdevice device = 0;
  if (const CUresult result = driver.DeviceGet(&device, ordinal);
      result != CUDA_SUCCESS) {
    return refused(result, "cuDeviceGet");
  }
  CUcontext handle = nullptr;
  if (const CUresult result = driver.PrimaryCtxRetain(&handle, device);
      result != CUDA_SUCCESS) {
    return refused(result, "cuDevicePrimaryCtxRetain");
  }
  return std::shared_ptr<CudaContext>(
      new CudaContext(driver, ordinal, device, handle));
}

CudaContext::~CudaContext() {
  // At the end of the process the driver may be gone already; it says so.
  if (!forked()) (void)driver_.PrimaryCtxRelease(device_);
}

absl::Status CudaContext::health() const {
  if (forked()) [[unlikely]] {
    return absl::FailedPreconditionError(
        "gpu: a forked child cannot use its parent's device");
  }
  if (!broken_.load(std::memory_order_acquire)) [[likely]] {
    return absl::OkStatus();
  }
  MutexLock lock(&mutex_);
  return broken_with_;
}

absl::Status CudaContext::Failed(cudaError_t error, const char* what) {
  // Of our copy of the runtime; the engine's has its own.
  (void)cudaGetLastError();
  return BreaksContext(error) ? Break(error, what) : StatusOf(error, what);
}

absl::Status CudaContext::Break(cudaError_t error, const char* what) {
  MutexLock lock(&mutex_);
  if (broken_with_.ok()) {
    broken_with_ = absl::UnavailableError(absl::StrCat(
        StatusOf(error, what).message(), "; it is lost to this process"));
    broken_.store(true, std::memory_order_release);
  }
  return broken_with_;
}

absl::Status CudaContext::StatusOf(cudaError_t error, const char* what) const {
  return CudaStatus(error, absl::StrCat("gpu: device ", ordinal_, ": ", what));
}

void CudaContext::AddHostRange(const std::byte* address, uint64_t bytes) {
  MutexLock lock(&mutex_);
  host_ranges_.push_back({address, bytes});
}

void CudaContext::RemoveHostRange(const std::byte* address) {
  MutexLock lock(&mutex_);
  std::erase_if(host_ranges_, [&](const HostRange& range) {
    return range.address == address;
  });
}

bool CudaContext::IsHostMemory(const std::byte* address) const {
  MutexLock lock(&mutex_);
  for (const HostRange& range : host_ranges_) {
    if (reinterpret_cast<uintptr_t>(address) -
            reinterpret_cast<uintptr_t>(range.address) <
        range.bytes) {
      return true;
    }
  }
  return false;
}

}  // namespace kvferry::gpu
