#ifndef KVFERRY_GPU_CUDA_CUDA_STREAM_H_
#define KVFERRY_GPU_CUDA_CUDA_STREAM_H_

#include <cuda_runtime_api.h>

#include <memory>

#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// A stream that does not wait for the default stream, nor that for it.
class CudaStream : public Stream {
 public:
  static absl::StatusOr<std::unique_ptr<Stream>> Create(
      std::shared_ptr<CudaContext> context);
  ~CudaStream() override;

 private:
  CudaStream(std::shared_ptr<CudaContext> context, cudaStream_t stream);

  const std::shared_ptr<CudaContext> context_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_STREAM_H_
