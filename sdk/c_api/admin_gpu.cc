// What an operator asks of the daemon's GPUs.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/kvferry_admin.h"
#include "sdk/c_api/admin_list.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/sized_structs.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

// One of what a device has several of.
// Errors  as Item; kOutOfRange  no such number
template <typename T>
absl::StatusOr<const T*> Part(const kvf_admin_list* list, size_t index,
                              uint32_t number,
                              std::vector<T> GpuStatus::*member,
                              const char* what) {
  KVFERRY_ASSIGN_OR_RETURN(const GpuStatus* const gpu,
                           Item<GpuStatus>(list, index, "gpus"));
  const std::vector<T>& parts = gpu->*member;
  if (number >= parts.size()) {
    return absl::OutOfRangeError(absl::StrCat(
        what, " ", number, ", device ", gpu->device, " has ", parts.size()));
  }
  return &parts[number];
}

}  // namespace

extern "C" {

kvf_status kvf_admin_gpus(kvf_admin* admin, kvf_admin_list** list) {
  return AnswerList(admin, list,
                    [](AdminClient& client) { return client.Gpus(); });
}

kvf_status kvf_admin_list_gpu(const kvf_admin_list* list, size_t index,
                              kvf_gpu_status* status) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(const GpuStatus* const from,
                             Item<GpuStatus>(list, index, "gpus"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(status));
    kvf_gpu_status result = {};
    result.uuid = from->uuid.c_str();
    result.configured_as = from->configured_as.c_str();
    result.state = from->state.c_str();
    result.reason = from->reason.c_str();
    result.name = from->name.c_str();
    result.export_mode = from->export_mode.c_str();
    result.total_bytes = from->total_bytes;
    result.pool_bytes = from->pool_bytes;
    result.used_bytes = from->used_bytes;
    result.bytes_to_host = from->bytes_to_host;
    result.bytes_to_device = from->bytes_to_device;
    result.copy_errors = from->copy_errors;
    result.promotion_bytes_per_s = from->promotion_bytes_per_s;
    result.device = from->device;
    result.emulated = from->emulated ? 1 : 0;
    result.ordinal = from->ordinal;
    result.worker_pid = from->worker_pid;
    result.restarts = from->restarts;
    result.driver_version = from->driver_version;
    result.runtime_version = from->runtime_version;
    result.copies_waiting = from->copies_waiting;
    result.capability_count = static_cast<uint32_t>(from->capabilities.size());
    result.pool_count = static_cast<uint32_t>(from->pools.size());
    result.import_count = static_cast<uint32_t>(from->imports.size());
    WriteSized(result, status);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_list_gpu_capability(const kvf_admin_list* list,
                                         size_t index, uint32_t number,
                                         kvf_gpu_capability* capability) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(
        const GpuCapability* const from,
        Part(list, index, number, &GpuStatus::capabilities, "capability"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(capability));
    kvf_gpu_capability result = {};
    result.name = from->name.c_str();
    result.reason = from->reason.c_str();
    result.available = from->available ? 1 : 0;
    WriteSized(result, capability);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_list_gpu_pool(const kvf_admin_list* list, size_t index,
                                   uint32_t number,
                                   kvf_gpu_pool_status* status) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(
        const GpuPoolStatus* const from,
        Part(list, index, number, &GpuStatus::pools, "pool"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(status));
    kvf_gpu_pool_status result = {};
    result.namespace_name = from->namespace_name.c_str();
    result.group_name = from->group_name.c_str();
    result.exported_by = from->exported_by.c_str();
    result.reason = from->reason.c_str();
    result.stride_bytes = from->stride_bytes;
    result.written_behind = from->written_behind;
    result.dropped = from->dropped;
    result.promoted = from->promoted;
    result.spilled = from->spilled;
    result.lost = from->lost;
    result.pool = from->pool;
    result.incarnation = from->incarnation;
    result.blocks = from->blocks;
    result.free = from->free;
    result.granted = from->granted;
    result.publishing = from->publishing;
    result.ready = from->ready;
    result.in_io = from->in_io;
    result.quarantined = from->quarantined;
    result.resting = from->resting;
    result.not_clean = from->not_clean;
    result.high_blocks = from->high_blocks;
    result.low_blocks = from->low_blocks;
    WriteSized(result, status);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_list_gpu_import(const kvf_admin_list* list, size_t index,
                                     uint32_t number, kvf_gpu_import* import) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(
        const GpuImport* const from,
        Part(list, index, number, &GpuStatus::imports, "import"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(import));
    kvf_gpu_import result = {};
    result.client_name = from->client_name.c_str();
    result.session = from->session;
    result.pid = from->pid;
    WriteSized(result, import);
    return absl::OkStatus();
  });
}

}  // extern "C"
