#include "gpu/cuda/cuda_event.h"

#include <utility>

#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"

namespace kvferry::gpu {

absl::StatusOr<std::unique_ptr<CudaEvent>> CudaEvent::Create(
    std::shared_ptr<CudaContext> context) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  cudaEvent_t event = nullptr;
  KVFERRY_RETURN_IF_ERROR(context->Check(
      cudaEventCreateWithFlags(&event,
                               cudaEventDisableTiming | cudaEventBlockingSync),
      "cudaEventCreateWithFlags"));
  return std::unique_ptr<CudaEvent>(new CudaEvent(std::move(context), event));
}

CudaEvent::CudaEvent(std::shared_ptr<CudaContext> context, cudaEvent_t event)
    : context_(std::move(context)), event_(event) {}

CudaEvent::~CudaEvent() {
  const CudaScope scope(context_.get());
  if (!scope.status().ok()) return;
  (void)context_->Check(cudaEventDestroy(event_), "cudaEventDestroy");
}

}  // namespace kvferry::gpu
