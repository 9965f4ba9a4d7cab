#ifndef KVFERRY_GPU_CUDA_STRIDED_COPY_H_
#define KVFERRY_GPU_CUDA_STRIDED_COPY_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/cuda/strided_copy_params.h"

// The copy kernel. C++17: strided_copy.cu includes this.
namespace kvferry::gpu {

// Queues the kernel for `params` on `stream`, with at most `blocks_max` thread
// blocks, which go through the chunks in turn. The parameters are copied before
// it returns; params.bases and params.table are read while it runs.
cudaError_t LaunchStridedCopy(const StridedCopyParams& params, bool to_page,
                              uint32_t blocks_max, cudaStream_t stream);

// Loads every kernel for the current device. Without this the first launch
// would, which takes milliseconds and is not allowed while a graph is captured.
// Errors  cudaErrorNoKernelImageForDevice  this build has none for it
cudaError_t LoadStridedCopyKernels();

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_STRIDED_COPY_H_
