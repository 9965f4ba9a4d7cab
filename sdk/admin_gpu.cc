#include "sdk/admin_gpu.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "protocol/gpu_name.h"

namespace kvferry::sdk {
namespace {

namespace wire = protocol::wire;

std::string ExportName(wire::GpuExport how) {
  switch (how) {
    case wire::GpuExport::None:
      return "none";
    case wire::GpuExport::Descriptor:
      return "descriptor";
    case wire::GpuExport::Handle:
      return "handle";
  }
  return absl::StrCat("unknown (", static_cast<int>(how), ")");
}

std::string StateName(wire::GpuState state) {
  switch (state) {
    case wire::GpuState::Starting:
      return "starting";
    case wire::GpuState::Serving:
      return "serving";
    case wire::GpuState::Backoff:
      return "backoff";
    case wire::GpuState::Unusable:
      return "unusable";
  }
  return absl::StrCat("unknown (", static_cast<int>(state), ")");
}

std::string UuidText(const std::vector<uint8_t>& bytes) {
  protocol::GpuUuid uuid{};
  if (bytes.size() != uuid.size()) return "";
  std::copy(bytes.begin(), bytes.end(), uuid.begin());
  // One that was never said.
  if (uuid == protocol::GpuUuid{}) return "";
  return protocol::FormatGpuName(protocol::GpuNameOf(uuid));
}

GpuPoolStatus PoolFrom(const wire::GpuPoolStatusT& status) {
  GpuPoolStatus pool;
  pool.namespace_name = status.namespace_name;
  pool.group_name = status.group_name;
  pool.pool = status.pool;
  pool.incarnation = status.incarnation;
  pool.exported_by = ExportName(status.export_);
  pool.reason = status.reason;
  pool.blocks = status.blocks;
  pool.free = status.free;
  pool.granted = status.granted;
  pool.publishing = status.publishing;
  pool.ready = status.ready;
  pool.in_io = status.in_io;
  pool.quarantined = status.quarantined;
  pool.resting = status.resting;
  pool.not_clean = status.not_clean;
  pool.high_blocks = status.high_blocks;
  pool.low_blocks = status.low_blocks;
  pool.stride_bytes = status.stride_bytes;
  pool.written_behind = status.written_behind;
  pool.dropped = status.dropped;
  pool.promoted = status.promoted;
  pool.spilled = status.spilled;
  pool.lost = status.lost;
  return pool;
}

}  // namespace

GpuStatus GpuStatusFrom(const wire::GpuStatusT& status) {
  GpuStatus gpu;
  gpu.device = status.device;
  gpu.emulated = status.kind == wire::DeviceKind::Emulated;
  gpu.uuid = UuidText(status.uuid);
  gpu.configured_as = status.configured_as;
  gpu.state = StateName(status.state);
  gpu.reason = status.reason;
  gpu.name = status.name;
  gpu.ordinal = status.ordinal;
  gpu.worker_pid = status.worker_pid;
  gpu.restarts = status.restarts;
  gpu.export_mode = status.export_mode;
  gpu.total_bytes = status.total_bytes;
  gpu.pool_bytes = status.pool_bytes;
  gpu.used_bytes = status.used_bytes;
  gpu.driver_version = status.driver_version;
  gpu.runtime_version = status.runtime_version;
  for (const auto& capability : status.capabilities) {
    gpu.capabilities.push_back(
        {capability->name, capability->available, capability->reason});
  }
  for (const auto& pool : status.pools) gpu.pools.push_back(PoolFrom(*pool));
  for (const auto& one : status.imports) {
    gpu.imports.push_back({one->session, one->client_name, one->pid});
  }
  gpu.bytes_to_host = status.copies_to_host;
  gpu.bytes_to_device = status.copies_to_device;
  gpu.copy_errors = status.copy_errors;
  gpu.copies_waiting = status.copies_waiting;
  gpu.promotion_bytes_per_s = status.promotion_budget;
  return gpu;
}

}  // namespace kvferry::sdk
