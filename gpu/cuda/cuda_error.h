#ifndef KVFERRY_GPU_CUDA_CUDA_ERROR_H_
#define KVFERRY_GPU_CUDA_CUDA_ERROR_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace kvferry::gpu {

// "what: cudaErrorName: description", the code by the table of gpu/device.h.
// Asks no driver. `error` is not cudaSuccess.
absl::Status CudaStatus(cudaError_t error, absl::string_view what);
// The same of a driver call. The runtime has the driver's numbers.
absl::Status CudaStatus(CUresult result, absl::string_view what);

// Whether every later call in the context fails: a kernel that crashed, a lost
// GPU, a context that somebody destroyed.
bool BreaksContext(cudaError_t error);

// Of 13000: "13.0".
std::string CudaVersionText(int version);

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_ERROR_H_
