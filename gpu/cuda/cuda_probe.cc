#include "gpu/cuda/cuda_probe.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "gpu/cuda/cuda_error.h"
#include "gpu/cuda/cuda_scope.h"

namespace kvferry::gpu {
namespace {

using GetUuid = CUresult(CUDAAPI*)(CUuuid*, CUdevice);

absl::StatusOr<Uuid> UuidBy(const CudaDriver& driver, GetUuid get,
                            int ordinal) {
  CUdevice device = 0;
  CUuuid uuid = {};
  CUresult result = driver.DeviceGet(&device, ordinal);
  if (result == CUDA_SUCCESS) result = get(&uuid, device);
  if (result != CUDA_SUCCESS) {
    return CudaStatus(result,
                      absl::StrCat("gpu: the UUID of device ", ordinal));
  }
  Uuid bytes;
  static_assert(sizeof(uuid.bytes) == sizeof(bytes));
  std::copy(std::begin(uuid.bytes), std::end(uuid.bytes), bytes.begin());
  return bytes;
}

// Asks attributes; one that the driver does not know counts as 0.
class Attributes {
 public:
  explicit Attributes(CudaContext* context) : context_(context) {}

  int Get(cudaDeviceAttr attribute) const {
    int value = 0;
    (void)context_->Check(
        cudaDeviceGetAttribute(&value, attribute, context_->ordinal()),
        "cudaDeviceGetAttribute");
    return value;
  }
  int Get(CUdevice_attribute attribute) const {
    CUdevice device = 0;
    int value = 0;
    if (context_->driver().DeviceGet(&device, context_->ordinal()) !=
            CUDA_SUCCESS ||
        context_->driver().DeviceGetAttribute(&value, attribute, device) !=
            CUDA_SUCCESS) {
      return 0;
    }
    return value;
  }

 private:
  CudaContext* const context_;
};

// Empty reasons: it is there.

std::string AgainstIpc(const Attributes& attributes, bool mig) {
  if (mig) return "a MIG instance has no CUDA IPC";
  if (attributes.Get(cudaDevAttrIntegrated) != 0) {
    return "the GPU is integrated with the host's memory";
  }
  if (attributes.Get(cudaDevAttrUnifiedAddressing) == 0) {
    return "the device has no unified addresses";
  }
  if (attributes.Get(cudaDevAttrIpcEventSupport) == 0) {
    return "the driver says that the device has no CUDA IPC";
  }
  return "";
}

std::string AgainstVmm(const Attributes& attributes) {
  if (attributes.Get(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) ==
      0) {
    return "the driver says that the device has no virtual memory management";
  }
  if (attributes.Get(
          CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED) ==
      0) {
    return "the driver says that memory cannot be exported as a descriptor";
  }
  return "";
}

std::string AgainstShared(const Attributes& attributes) {
  switch (attributes.Get(cudaDevAttrComputeMode)) {
    case cudaComputeModeDefault:
      return "";
    case cudaComputeModeProhibited:
      return "its compute mode is Prohibited (nvidia-smi -c DEFAULT)";
    default:
      // MPS is the one process, and shares the device out itself.
      if (attributes.Get(cudaDevAttrMpsEnabled) != 0) return "";
      return "its compute mode lets one process use it "
             "(nvidia-smi -c DEFAULT, or run MPS)";
  }
}

std::string AgainstPeers(CudaContext* context) {
  int count = 0;
  if (!context->Check(cudaGetDeviceCount(&count), "cudaGetDeviceCount").ok() ||
      count < 2) {
    return "this process sees no other device";
  }
  std::vector<int> unreachable;
  for (int other = 0; other < count; ++other) {
    if (other == context->ordinal()) continue;
    int reachable = 0;
    if (!context
             ->Check(
                 cudaDeviceCanAccessPeer(&reachable, context->ordinal(), other),
                 "cudaDeviceCanAccessPeer")
             .ok() ||
        reachable == 0) {
      unreachable.push_back(other);
    }
  }
  if (unreachable.empty()) return "";
  return absl::StrCat("the device cannot reach device ",
                      absl::StrJoin(unreachable, ", "), " of this process");
}

}  // namespace

absl::StatusOr<Uuid> CudaUuid(const CudaDriver& driver, int ordinal) {
  return UuidBy(driver, driver.DeviceGetUuid, ordinal);
}

absl::StatusOr<DeviceReport> ProbeCuda(CudaContext* context) {
  const CudaScope scope(context);
  KVFERRY_RETURN_IF_ERROR(scope.status());
  const CudaDriver& driver = context->driver();
  DeviceReport report;
  report.kind = DeviceKind::kCuda;
  report.ordinal = static_cast<uint32_t>(context->ordinal());
  KVFERRY_ASSIGN_OR_RETURN(report.uuid, CudaUuid(driver, context->ordinal()));
  KVFERRY_ASSIGN_OR_RETURN(
      const Uuid gpu_uuid,
      UuidBy(driver, driver.DeviceGetGpuUuid, context->ordinal()));
  cudaDeviceProp properties;
  KVFERRY_RETURN_IF_ERROR(
      context->Check(cudaGetDeviceProperties(&properties, context->ordinal()),
                     "cudaGetDeviceProperties"));
  report.name = properties.name;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  KVFERRY_RETURN_IF_ERROR(context->Check(
      cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo"));
  report.free_bytes = free_bytes;
  report.total_bytes = total_bytes;
  int driver_version = 0;
  int runtime_version = 0;
  KVFERRY_RETURN_IF_ERROR(context->Check(cudaDriverGetVersion(&driver_version),
                                         "cudaDriverGetVersion"));
  KVFERRY_RETURN_IF_ERROR(context->Check(
      cudaRuntimeGetVersion(&runtime_version), "cudaRuntimeGetVersion"));
  report.driver_version = static_cast<uint32_t>(driver_version);
  report.runtime_version = static_cast<uint32_t>(runtime_version);

  const Attributes attributes(context);
  // An instance has a UUID of its own beside its GPU's.
  const bool mig =
      report.uuid != gpu_uuid || absl::StrContains(report.name, " MIG ");
  const auto add = [&](const char* name, std::string reason) {
    report.capabilities.push_back(
        Capability{name, reason.empty(), std::move(reason)});
  };
  add(kCapabilityIpc, AgainstIpc(attributes, mig));
  add(kCapabilityVmm, AgainstVmm(attributes));
  add(kCapabilityWholeGpu, mig ? "it is a MIG instance" : "");
  add(kCapabilityShared, AgainstShared(attributes));
  add(kCapabilityPeer, AgainstPeers(context));
  add(kCapabilityReadOnlyHost,
      attributes.Get(cudaDevAttrHostRegisterReadOnlySupported) != 0
          ? ""
          : "the driver says that the device cannot register read-only memory");
  add(kCapabilityBatchCopy,
      driver.has_batch_copy
          ? ""
          : absl::StrCat("the driver (CUDA ", CudaVersionText(driver_version),
                         ") has no cuMemcpyBatchAsync"));
  return report;
}

}  // namespace kvferry::gpu
