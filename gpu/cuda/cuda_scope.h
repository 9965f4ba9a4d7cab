#ifndef KVFERRY_GPU_CUDA_CUDA_SCOPE_H_
#define KVFERRY_GPU_CUDA_CUDA_SCOPE_H_

#include <cuda.h>

#include "absl/status/status.h"
#include "gpu/cuda/cuda_context.h"

namespace kvferry::gpu {

// Makes a device current for this thread, and gives the thread back as it was:
// with the context it had, an engine's own among them, or none.
//
// The context is pushed, not set: cudaSetDevice would leave another device's
// primary context behind in a thread that had one of its engine's, and the
// device in one that had none. Meanwhile the thread may call what is unsafe
// while some other thread captures a graph (an event's query, an allocation),
// which would spoil that capture: ours are never part of one.
//
// Life cycle  1. make it   2. check status()   3. call CUDA   4. it ends
class CudaScope {
 public:
  explicit CudaScope(CudaContext* context)
      : context_(context), status_(context->health()) {
    if (!status_.ok()) return;
    const CudaDriver& driver = context_->driver();
    status_ = context_->CheckPushed(driver.CtxPushCurrent(context_->handle()));
    if (!status_.ok()) return;
    pushed_ = true;
    // After the push: in a thread without a context it would make one on the
    // first device.
    exchanged_ = driver.ThreadExchangeCaptureMode(&mode_) == CUDA_SUCCESS;
  }
  ~CudaScope() {
    if (!pushed_) return;
    const CudaDriver& driver = context_->driver();
    if (exchanged_) (void)driver.ThreadExchangeCaptureMode(&mode_);
    CUcontext popped = nullptr;
    (void)driver.CtxPopCurrent(&popped);
  }
  CudaScope(const CudaScope&) = delete;
  CudaScope& operator=(const CudaScope&) = delete;

  const absl::Status& status() const { return status_; }

 private:
  CudaContext* const context_;
  absl::Status status_;
  // What the thread had, once they are exchanged.
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
  bool pushed_ = false;
  bool exchanged_ = false;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_SCOPE_H_
