#include "gpu/cuda/cuda_stream.h"

#include <utility>

#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"

namespace kvferry::gpu {

absl::StatusOr<std::unique_ptr<Stream>> CudaStream::Create(
    std::shared_ptr<CudaContext> context) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  cudaStream_t stream = nullptr;
  KVFERRY_RETURN_IF_ERROR(
      context->Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                     "cudaStreamCreateWithFlags"));
  return std::unique_ptr<Stream>(new CudaStream(std::move(context), stream));
}

CudaStream::CudaStream(std::shared_ptr<CudaContext> context,
                       cudaStream_t stream)
    : context_(std::move(context)) {
  native_ = stream;
}

CudaStream::~CudaStream() {
  const CudaScope scope(context_.get());
  if (!scope.status().ok()) return;
  const auto stream = static_cast<cudaStream_t>(native_);
  (void)context_->Check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  (void)context_->Check(cudaStreamDestroy(stream), "cudaStreamDestroy");
}

}  // namespace kvferry::gpu
