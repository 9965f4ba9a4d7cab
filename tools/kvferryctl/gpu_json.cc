#include "tools/kvferryctl/gpu_json.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvferry::ctl {
namespace {

using tools::Json;

Json PoolJson(const GpuSamples& samples, const GpuStatus& gpu,
              const GpuPoolStatus& pool) {
  Json json;
  json["namespace"] = pool.namespace_name;
  json["group"] = pool.group_name;
  json["pool"] = pool.pool;
  json["incarnation"] = pool.incarnation;
  json["export"] = pool.exported_by;
  json["reason"] = pool.reason;
  json["stride_bytes"] = pool.stride_bytes;
  json["blocks"] = pool.blocks;
  json["free"] = pool.free;
  json["granted"] = pool.granted;
  json["publishing"] = pool.publishing;
  json["ready"] = pool.ready;
  json["not_clean"] = pool.not_clean;
  json["in_io"] = pool.in_io;
  json["quarantined"] = pool.quarantined;
  json["resting"] = pool.resting;
  json["high_blocks"] = pool.high_blocks;
  json["low_blocks"] = pool.low_blocks;
  for (const PoolCounter& counter : kPoolCounters) {
    json[counter.name] = pool.*counter.member;
  }
  if (const GpuPoolStatus* const before = samples.Before(gpu, pool)) {
    for (const PoolCounter& counter : kPoolCounters) {
      json[absl::StrCat(counter.name, "_per_s")] = PerSecond(
          before->*counter.member, pool.*counter.member, samples.between());
    }
  }
  return json;
}

Json GpuJson(const GpuSamples& samples, const GpuStatus& gpu) {
  Json json;
  json["device"] = gpu.device;
  json["uuid"] = gpu.uuid;
  json["configured_as"] = gpu.configured_as;
  json["emulated"] = gpu.emulated;
  json["state"] = gpu.state;
  json["reason"] = gpu.reason;
  json["name"] = gpu.name;
  json["ordinal"] = gpu.ordinal;
  json["worker_pid"] = gpu.worker_pid;
  json["restarts"] = gpu.restarts;
  json["export"] = gpu.export_mode;
  json["total_bytes"] = gpu.total_bytes;
  json["pool_bytes"] = gpu.pool_bytes;
  json["used_bytes"] = gpu.used_bytes;
  json["driver_version"] = gpu.driver_version;
  json["runtime_version"] = gpu.runtime_version;
  json["bytes_to_host"] = gpu.bytes_to_host;
  json["bytes_to_device"] = gpu.bytes_to_device;
  if (const GpuStatus* const before = samples.Before(gpu)) {
    const absl::Duration between = samples.between();
    json["interval_ms"] = tools::JsonMs(between);
    json["bytes_to_host_per_s"] =
        PerSecond(before->bytes_to_host, gpu.bytes_to_host, between);
    json["bytes_to_device_per_s"] =
        PerSecond(before->bytes_to_device, gpu.bytes_to_device, between);
  }
  json["copy_errors"] = gpu.copy_errors;
  json["copies_waiting"] = gpu.copies_waiting;
  json["promotion_bytes_per_s"] = gpu.promotion_bytes_per_s;
  json["capabilities"] = Json::array();
  for (const GpuCapability& capability : gpu.capabilities) {
    Json one;
    one["name"] = capability.name;
    one["available"] = capability.available;
    one["reason"] = capability.reason;
    json["capabilities"].push_back(std::move(one));
  }
  json["pools"] = Json::array();
  for (const GpuPoolStatus& pool : gpu.pools) {
    json["pools"].push_back(PoolJson(samples, gpu, pool));
  }
  json["imports"] = Json::array();
  for (const GpuImport& import : gpu.imports) {
    Json one;
    one["session"] = import.session;
    one["client"] = import.client_name;
    one["pid"] = import.pid;
    json["imports"].push_back(std::move(one));
  }
  return json;
}

}  // namespace

Json GpusJson(const GpuSamples& samples) {
  Json list = Json::array();
  for (const GpuStatus& gpu : samples.now) {
    list.push_back(GpuJson(samples, gpu));
  }
  return list;
}

}  // namespace kvferry::ctl
