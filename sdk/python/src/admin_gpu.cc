// What the daemon says of its devices.

#include "sdk/python/src/admin_dicts.h"
#include "sdk/python/src/errors.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

nb::dict CapabilityDict(const kvf_admin_list* list, size_t index,
                        uint32_t number) {
  auto capability = SizedStruct<kvf_gpu_capability>();
  Check(kvf_admin_list_gpu_capability(list, index, number, &capability));
  nb::dict result;
  result["name"] = AdminText(capability.name);
  result["reason"] = AdminText(capability.reason);
  result["available"] = capability.available != 0;
  return result;
}

nb::dict PoolDict(const kvf_admin_list* list, size_t index, uint32_t number) {
  auto pool = SizedStruct<kvf_gpu_pool_status>();
  Check(kvf_admin_list_gpu_pool(list, index, number, &pool));
  nb::dict result;
  result["namespace_name"] = AdminText(pool.namespace_name);
  result["group_name"] = AdminText(pool.group_name);
  result["exported_by"] = AdminText(pool.exported_by);
  result["reason"] = AdminText(pool.reason);
  result["stride_bytes"] = pool.stride_bytes;
  result["written_behind"] = pool.written_behind;
  result["dropped"] = pool.dropped;
  result["promoted"] = pool.promoted;
  result["spilled"] = pool.spilled;
  result["lost"] = pool.lost;
  result["pool"] = pool.pool;
  result["incarnation"] = pool.incarnation;
  result["blocks"] = pool.blocks;
  result["free"] = pool.free;
  result["granted"] = pool.granted;
  result["publishing"] = pool.publishing;
  result["ready"] = pool.ready;
  result["in_io"] = pool.in_io;
  result["quarantined"] = pool.quarantined;
  result["resting"] = pool.resting;
  result["not_clean"] = pool.not_clean;
  result["high_blocks"] = pool.high_blocks;
  result["low_blocks"] = pool.low_blocks;
  return result;
}

nb::dict ImportDict(const kvf_admin_list* list, size_t index, uint32_t number) {
  auto import = SizedStruct<kvf_gpu_import>();
  Check(kvf_admin_list_gpu_import(list, index, number, &import));
  nb::dict result;
  result["client_name"] = AdminText(import.client_name);
  result["session"] = import.session;
  result["pid"] = import.pid;
  return result;
}

nb::list Each(const kvf_admin_list* list, size_t index, uint32_t count,
              nb::dict (*dict_of)(const kvf_admin_list*, size_t, uint32_t)) {
  nb::list result;
  for (uint32_t number = 0; number < count; ++number) {
    result.append(dict_of(list, index, number));
  }
  return result;
}

}  // namespace

nb::dict GpuDict(const kvf_admin_list* list, size_t index) {
  auto status = SizedStruct<kvf_gpu_status>();
  Check(kvf_admin_list_gpu(list, index, &status));
  nb::dict result;
  result["uuid"] = AdminText(status.uuid);
  result["configured_as"] = AdminText(status.configured_as);
  result["state"] = AdminText(status.state);
  result["reason"] = AdminText(status.reason);
  result["name"] = AdminText(status.name);
  result["export_mode"] = AdminText(status.export_mode);
  result["total_bytes"] = status.total_bytes;
  result["pool_bytes"] = status.pool_bytes;
  result["used_bytes"] = status.used_bytes;
  result["bytes_to_host"] = status.bytes_to_host;
  result["bytes_to_device"] = status.bytes_to_device;
  result["copy_errors"] = status.copy_errors;
  result["promotion_bytes_per_s"] = status.promotion_bytes_per_s;
  result["device"] = status.device;
  result["emulated"] = status.emulated != 0;
  result["ordinal"] = status.ordinal;
  result["worker_pid"] = status.worker_pid;
  result["restarts"] = status.restarts;
  result["driver_version"] = status.driver_version;
  result["runtime_version"] = status.runtime_version;
  result["copies_waiting"] = status.copies_waiting;
  result["capabilities"] =
      Each(list, index, status.capability_count, &CapabilityDict);
  result["pools"] = Each(list, index, status.pool_count, &PoolDict);
  result["imports"] = Each(list, index, status.import_count, &ImportDict);
  return result;
}

}  // namespace kvferry::python
