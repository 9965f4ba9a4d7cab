#include "gpu/cuda/cuda_driver.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "gpu/cuda/cuda_error.h"

namespace kvferry::gpu {
namespace {

// The function as CUDA `version` knew it, or null.
void* Find(const char* name, unsigned int version) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion(
      name, &function, version, cudaEnableDefault, &result);
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  return function;
}

// Remembers the first that is missing.
class Loader {
 public:
  template <typename Function>
  void Load(const char* name, unsigned int version, Function* function) {
    *function = reinterpret_cast<Function>(Find(name, version));
    if (*function == nullptr && missing_ == nullptr) missing_ = name;
  }
  const char* missing() const { return missing_; }

 private:
  const char* missing_ = nullptr;
};

}  // namespace

absl::StatusOr<CudaDriver> CudaDriver::Load() {
  CudaDriver driver;
  Loader loader;
  loader.Load("cuDeviceGet", 2000, &driver.DeviceGet);
  loader.Load("cuDeviceGetAttribute", 2000, &driver.DeviceGetAttribute);
  loader.Load("cuDeviceGetUuid", 9020, &driver.DeviceGetGpuUuid);
  loader.Load("cuDeviceGetUuid", 11040, &driver.DeviceGetUuid);
  loader.Load("cuDevicePrimaryCtxRetain", 7000, &driver.PrimaryCtxRetain);
  loader.Load("cuDevicePrimaryCtxRelease", 11000, &driver.PrimaryCtxRelease);
  loader.Load("cuCtxPushCurrent", 4000, &driver.CtxPushCurrent);
  loader.Load("cuCtxPopCurrent", 4000, &driver.CtxPopCurrent);
  loader.Load("cuThreadExchangeStreamCaptureMode", 10010,
              &driver.ThreadExchangeCaptureMode);
  loader.Load("cuMemGetAllocationGranularity", 10020,
              &driver.MemGetAllocationGranularity);
  loader.Load("cuMemGetAllocationPropertiesFromHandle", 10020,
              &driver.MemGetAllocationProperties);
  loader.Load("cuMemCreate", 10020, &driver.MemCreate);
  loader.Load("cuMemRelease", 10020, &driver.MemRelease);
  loader.Load("cuMemAddressReserve", 10020, &driver.MemAddressReserve);
  loader.Load("cuMemAddressFree", 10020, &driver.MemAddressFree);
  loader.Load("cuMemMap", 10020, &driver.MemMap);
  loader.Load("cuMemUnmap", 10020, &driver.MemUnmap);
  loader.Load("cuMemSetAccess", 10020, &driver.MemSetAccess);
  loader.Load("cuMemExportToShareableHandle", 10020, &driver.MemExport);
  loader.Load("cuMemImportFromShareableHandle", 10020, &driver.MemImport);
  if (loader.missing() != nullptr) {
    int version = 0;
    (void)cudaDriverGetVersion(&version);
    return absl::UnavailableError(absl::StrCat("gpu: the driver (CUDA ",
                                               CudaVersionText(version),
                                               ") has no ", loader.missing()));
  }
  // The version that this runtime's cudaMemcpyBatchAsync calls.
  driver.has_batch_copy = Find("cuMemcpyBatchAsync", 13000) != nullptr;
  return driver;
}

}  // namespace kvferry::gpu
