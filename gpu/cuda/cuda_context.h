#ifndef KVFERRY_GPU_CUDA_CUDA_CONTEXT_H_
#define KVFERRY_GPU_CUDA_CUDA_CONTEXT_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fork_guard.h"
#include "base/mutex.h"
#include "gpu/cuda/cuda_driver.h"

namespace kvferry::gpu {

// A device's primary context, which the frameworks of this process use, too,
// and what is known of its health. Everything made on a CudaDevice holds it, so
// it may outlive the device.
//
// Threads  any number at once
class CudaContext {
 public:
  // Creates the context if nobody has yet (some hundred ms, some hundred MiB of
  // device memory) and keeps it until the last user is gone.
  // Errors  kUnavailable  the device refuses; its words
  static absl::StatusOr<std::shared_ptr<CudaContext>> Retain(
      const CudaDriver& driver, int ordinal);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  const CudaDriver& driver() const { return driver_; }
  int ordinal() const { return ordinal_; }
  CUcontext handle() const { return handle_; }
  // A child of the process that made it: CUDA does not work there.
  bool forked() const { return fork_guard_.forked(); }

  // kUnavailable once the context is broken; kFailedPrecondition in a child.
  absl::Status health() const;

  // Turns a call's result into a status; remembers a broken context, and takes
  // the error away from the thread's last one. Cost  a compare when it went
  // well.
  absl::Status Check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) [[likely]]
      return absl::OkStatus();
    return Failed(error, what);
  }
  absl::Status Check(CUresult result, const char* what) {
    return Check(static_cast<cudaError_t>(result), what);
  }
  // The same of making the context current: whatever refuses that, nothing here
  // works without.
  absl::Status CheckPushed(CUresult result) {
    if (result == CUDA_SUCCESS) [[likely]]
      return absl::OkStatus();
    return Break(static_cast<cudaError_t>(result), "cuCtxPushCurrent");
  }

  // Host memory that is registered with the device, by device addresses.
  void AddHostRange(const std::byte* address, uint64_t bytes);
  void RemoveHostRange(const std::byte* address);
  bool IsHostMemory(const std::byte* address) const;

  bool batch_copies() const {
    return batch_copies_.load(std::memory_order_relaxed);
  }
  void DisableBatchCopies() {
    batch_copies_.store(false, std::memory_order_relaxed);
  }

 private:
  struct HostRange {
    const std::byte* address;
    uint64_t bytes;
  };

  CudaContext(const CudaDriver& driver, int ordinal, CUdevice device,
              CUcontext handle)
      : driver_(driver),
        ordinal_(ordinal),
        device_(device),
        handle_(handle),
        batch_copies_(driver.has_batch_copy) {}

  absl::Status Failed(cudaError_t error, const char* what);
  absl::Status Break(cudaError_t error, const char* what);
  absl::Status StatusOf(cudaError_t error, const char* what) const;

  const CudaDriver driver_;
  const int ordinal_;
  const CUdevice device_;
  const CUcontext handle_;
  const ForkGuard fork_guard_;
  std::atomic<bool> batch_copies_;
  // Set after broken_with_, which is then not written again.
  std::atomic<bool> broken_{false};
  mutable Mutex mutex_;
  absl::Status broken_with_ ABSL_GUARDED_BY(mutex_);
  // Few: a segment each.
  std::vector<HostRange> host_ranges_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_CONTEXT_H_
