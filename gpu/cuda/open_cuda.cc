// OpenCuda of gpu/device.h. Nothing here, or in a program that links it, asks
// the driver for anything before the first call.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "gpu/cuda/cuda_device.h"
#include "gpu/cuda/cuda_driver.h"
#include "gpu/cuda/cuda_error.h"
#include "gpu/cuda/cuda_probe.h"
#include "gpu/device.h"

namespace kvferry::gpu {
namespace {

// How many devices the process sees; at least 1.
absl::StatusOr<int> CountDevices() {
  int driver = 0;
  int runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) (void)cudaGetLastError();
  const std::string need = absl::StrCat("this build needs one of CUDA ",
                                        CudaVersionText(runtime), " or later");
  if (driver == 0) {
    return absl::UnavailableError(absl::StrCat(
        "gpu: no NVIDIA driver (libcuda.so.1) in this process's reach; ",
        need));
  }
  if (error == cudaErrorInsufficientDriver) {
    return absl::UnavailableError(absl::StrCat(
        "gpu: the driver is of CUDA ", CudaVersionText(driver), "; ", need));
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    return absl::UnavailableError(absl::StrCat(
        "gpu: the driver (CUDA ", CudaVersionText(driver),
        ") sees no device; is CUDA_VISIBLE_DEVICES right, are /dev/nvidia* "
        "there?"));
  }
  if (error != cudaSuccess) {
    return absl::UnavailableError(
        CudaStatus(error, absl::StrCat("gpu: the driver (CUDA ",
                                       CudaVersionText(driver), ")"))
            .message());
  }
  return count;
}

}  // namespace

bool BuiltWithCuda() { return true; }

absl::StatusOr<std::unique_ptr<Device>> OpenCuda(int ordinal) {
  KVFERRY_ASSIGN_OR_RETURN(const int count, CountDevices());
  if (ordinal == -1) {
    if (const cudaError_t error = cudaGetDevice(&ordinal);
        error != cudaSuccess) {
      (void)cudaGetLastError();
      return absl::UnavailableError(
          CudaStatus(error, "gpu: the thread's device").message());
    }
  }
  if (ordinal < 0 || ordinal >= count) {
    return absl::NotFoundError(absl::StrCat(
        "gpu: no device ", ordinal, ", this process sees 0 to ", count - 1));
  }
  KVFERRY_ASSIGN_OR_RETURN(const CudaDriver driver, CudaDriver::Load());
  return CudaDevice::Open(driver, ordinal);
}

absl::StatusOr<std::unique_ptr<Device>> OpenCuda(const Uuid& uuid) {
  KVFERRY_ASSIGN_OR_RETURN(const int count, CountDevices());
  KVFERRY_ASSIGN_OR_RETURN(const CudaDriver driver, CudaDriver::Load());
  std::vector<std::string> seen;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    KVFERRY_ASSIGN_OR_RETURN(const Uuid found, CudaUuid(driver, ordinal));
    if (found == uuid) return CudaDevice::Open(driver, ordinal);
    seen.push_back(UuidToString(DeviceKind::kCuda, found));
  }
  return absl::NotFoundError(
      absl::StrCat("gpu: no device ", UuidToString(DeviceKind::kCuda, uuid),
                   ", this process sees ", absl::StrJoin(seen, ", ")));
}

}  // namespace kvferry::gpu
