#ifndef KVFERRY_GPU_CUDA_CUDA_EVENT_H_
#define KVFERRY_GPU_CUDA_CUDA_EVENT_H_

#include <cuda_runtime_api.h>

#include <memory>

#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// An event without a time stamp, whose waiters sleep. The calls are made by
// CudaDevice, which has the device current.
class CudaEvent : public Event {
 public:
  static absl::StatusOr<std::unique_ptr<CudaEvent>> Create(
      std::shared_ptr<CudaContext> context);
  ~CudaEvent() override;

  cudaEvent_t native() const { return event_; }

 private:
  CudaEvent(std::shared_ptr<CudaContext> context, cudaEvent_t event);

  const std::shared_ptr<CudaContext> context_;
  const cudaEvent_t event_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_EVENT_H_
