#ifndef KVFERRY_GPU_CUDA_CUDA_DRIVER_H_
#define KVFERRY_GPU_CUDA_CUDA_DRIVER_H_

#include <cuda.h>
#include <cudaTypedefs.h>

#include "absl/status/statusor.h"

namespace kvferry::gpu {

// The driver's functions that the runtime has no call for. The runtime finds
// libcuda.so.1 by itself when it is first asked for anything; nothing of ours
// is linked against it, so that a machine without a driver runs the rest.
//
// Each has the type of the version that it is asked for in.
struct CudaDriver {
  // Errors  kUnavailable  the driver lacks one that every supported one has
  static absl::StatusOr<CudaDriver> Load();

  PFN_cuDeviceGet_v2000 DeviceGet = nullptr;
  PFN_cuDeviceGetAttribute_v2000 DeviceGetAttribute = nullptr;
  // Of the whole GPU, and of the MIG instance where it is one.
  PFN_cuDeviceGetUuid_v9020 DeviceGetGpuUuid = nullptr;
  PFN_cuDeviceGetUuid_v11040 DeviceGetUuid = nullptr;

  PFN_cuDevicePrimaryCtxRetain_v7000 PrimaryCtxRetain = nullptr;
  PFN_cuDevicePrimaryCtxRelease_v11000 PrimaryCtxRelease = nullptr;
  PFN_cuCtxPushCurrent_v4000 CtxPushCurrent = nullptr;
  PFN_cuCtxPopCurrent_v4000 CtxPopCurrent = nullptr;
  PFN_cuThreadExchangeStreamCaptureMode_v10010 ThreadExchangeCaptureMode =
      nullptr;

  PFN_cuMemGetAllocationGranularity_v10020 MemGetAllocationGranularity =
      nullptr;
  PFN_cuMemGetAllocationPropertiesFromHandle_v10020 MemGetAllocationProperties =
      nullptr;
  PFN_cuMemCreate_v10020 MemCreate = nullptr;
  PFN_cuMemRelease_v10020 MemRelease = nullptr;
  PFN_cuMemAddressReserve_v10020 MemAddressReserve = nullptr;
  PFN_cuMemAddressFree_v10020 MemAddressFree = nullptr;
  PFN_cuMemMap_v10020 MemMap = nullptr;
  PFN_cuMemUnmap_v10020 MemUnmap = nullptr;
  PFN_cuMemSetAccess_v10020 MemSetAccess = nullptr;
  PFN_cuMemExportToShareableHandle_v10020 MemExport = nullptr;
  PFN_cuMemImportFromShareableHandle_v10020 MemImport = nullptr;

  // Whether cudaMemcpyBatchAsync works with this driver.
  bool has_batch_copy = false;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_DRIVER_H_
