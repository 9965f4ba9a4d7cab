#ifndef KVFERRY_GPU_CUDA_CUDA_PROBE_H_
#define KVFERRY_GPU_CUDA_CUDA_PROBE_H_

#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// What the context's device is and has, and what it lacks and why.
// Blocking  some ms
absl::StatusOr<DeviceReport> ProbeCuda(CudaContext* context);

// The device's own UUID; of a MIG instance, the instance's.
absl::StatusOr<Uuid> CudaUuid(const CudaDriver& driver, int ordinal);

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_PROBE_H_
