#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "daemon/control/access.h"
#include "daemon/control/requests.h"
#include "protocol/limits.h"

// Sessions that open a GPU, and what operators see of GPUs.
namespace kvferry::control {
namespace {

// A list is cut where the receiver's verifier, or a packet, would refuse it.
constexpr size_t kTablesMax = protocol::kFlatbufferTablesMax - 16;
constexpr size_t kImportsPerDeviceMax = 64;
constexpr size_t kPoolsPerDeviceMax = 64;
constexpr size_t kTextBytesMax = 256;
constexpr size_t kMessageBytesGoal = protocol::kMessageBytesMax * 3 / 4;
// A pool's, with its numbers and names.
constexpr size_t kPoolBytes =
    256 + protocol::kNamespaceNameBytesMax + protocol::kGroupNameBytesMax;

std::string ListOf(const GpuDevices& gpus) {
  if (gpus.devices().empty()) return "none (gpu.devices is empty)";
  return absl::StrJoin(gpus.devices(), ", ",
                       [](std::string* out, const auto& device) {
                         out->append(protocol::FormatGpuName(device->name()));
                       });
}

absl::StatusOr<const GpuDevice*> Open(const Request& request,
                                      ClientSession& session,
                                      const wire::OpenGpuT& open) {
  // The descriptors in the outbox are the daemon's own until they are read.
  if (request.connection.backlogged()) {
    return absl::ResourceExhaustedError(
        "open GPU: read the replies that wait for you first");
  }
  const std::string& name = session.host->entry().spec.name;
  // Whatever it asked for at its Attach: who imports memory can write it.
  if (!MayPublish(request.node.config(), name, request.connection.peer())) {
    return absl::PermissionDeniedError(absl::StrCat(
        "open GPU: user ", session.uid,
        " is not on the access list to publish into namespace \"",
        PrintableName(name), "\", and GPU memory cannot be shared read-only"));
  }
  protocol::GpuUuid uuid{};
  if (open.device_uuid.size() != uuid.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("open GPU: a UUID of ", open.device_uuid.size(),
                     " bytes, not ", uuid.size()));
  }
  std::copy(open.device_uuid.begin(), open.device_uuid.end(), uuid.begin());
  const GpuDevice* const device = request.node.gpus().Find(uuid);
  if (device == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("open GPU: the daemon does not serve ",
                     protocol::FormatGpuName(protocol::GpuNameOf(uuid)),
                     "; those that it serves: ", ListOf(request.node.gpus())));
  }
  KVFERRY_RETURN_IF_ERROR(
      session.host->core().SetSessionGpu(session.number, device->number()));
  return device;
}

wire::GpuState StateOf(const worker::Supervisor& supervisor) {
  switch (supervisor.state()) {
    case worker::Supervisor::State::kStarting:
      return wire::GpuState::Starting;
    case worker::Supervisor::State::kServing:
      return wire::GpuState::Serving;
    case worker::Supervisor::State::kBackoff:
    case worker::Supervisor::State::kEnding:
      return wire::GpuState::Backoff;
    case worker::Supervisor::State::kUnusable:
      return wire::GpuState::Unusable;
  }
  return wire::GpuState::Backoff;
}

const char* NameOf(config::GpuExport mode) {
  switch (mode) {
    case config::GpuExport::kAuto:
      return "auto";
    case config::GpuExport::kVmm:
      return "vmm";
    case config::GpuExport::kIpc:
      return "ipc";
  }
  return "";
}

std::string Cut(absl::string_view text) {
  return std::string(text.substr(0, kTextBytesMax));
}

wire::GpuPoolStatusT DescribePool(const GpuDevice& device,
                                  const GpuPoolMemory& memory) {
  const NamespaceHost& host = *memory.host;
  const core::GpuPoolCounts counts = host.core().gpu_counts(memory.pool);
  const protocol::GpuPoolPlan& plan =
      host.geometry().gpu_pools[memory.pool - 1];
  wire::GpuPoolStatusT result;
  result.namespace_name = host.entry().spec.name;
  result.group_name = host.entry().spec.groups[plan.group].name;
  result.pool = static_cast<uint8_t>(memory.pool);
  result.incarnation = host.GpuIncarnation(memory.pool);
  result.export_ = memory.export_kind;
  result.blocks = plan.block_count;
  result.free = counts.free;
  result.granted = counts.granted;
  result.publishing = counts.publishing;
  result.ready = counts.ready;
  result.in_io = counts.in_io;
  result.quarantined = counts.quarantined;
  result.resting = counts.resting;
  result.not_clean = counts.not_clean;
  result.high_blocks = counts.high_blocks;
  result.low_blocks = counts.low_blocks;
  result.stride_bytes = host.geometry().groups[plan.group].stride_bytes;
  result.written_behind = counts.written_behind;
  result.dropped = counts.dropped;
  result.promoted = counts.promoted;
  result.spilled = counts.spilled;
  result.lost = counts.lost;
  result.reason = Cut(device.ReasonAgainst(memory));
  return result;
}

void DescribeHello(const protocol::worker::HelloT& hello,
                   wire::GpuStatusT* status) {
  status->name = hello.name;
  status->ordinal = hello.ordinal;
  status->total_bytes = hello.total_bytes;
  status->driver_version = hello.driver_version;
  status->runtime_version = hello.runtime_version;
  for (const auto& capability : hello.capabilities) {
    auto entry = std::make_unique<wire::GpuCapabilityT>();
    entry->name = Cut(capability->name);
    entry->available = capability->available;
    entry->reason = Cut(capability->reason);
    status->capabilities.push_back(std::move(entry));
  }
}

wire::GpuStatusT DescribeDevice(const Node& node, const GpuDevice& device) {
  wire::GpuStatusT status;
  status.device = device.number();
  status.uuid.assign(device.name().uuid.begin(), device.name().uuid.end());
  status.configured_as = protocol::FormatGpuName(device.name());
  status.kind = device.name().emulated ? wire::DeviceKind::Emulated
                                       : wire::DeviceKind::Cuda;
  status.state = StateOf(device.supervisor());
  status.reason = Cut(device.supervisor().reason());
  status.worker_pid = device.worker_pid();
  status.restarts = device.supervisor().restarts();
  status.export_mode = NameOf(node.config().gpu_export);
  status.pool_bytes = node.config().gpu_pool_size_bytes;
  status.used_bytes = node.gpus().BytesGiven(device);
  if (device.hello() != nullptr) DescribeHello(*device.hello(), &status);
  for (const GpuPoolMemory& memory : device.pools()) {
    if (status.pools.size() == kPoolsPerDeviceMax) break;
    status.pools.push_back(
        std::make_unique<wire::GpuPoolStatusT>(DescribePool(device, memory)));
  }
  for (const auto& [number, session] : node.sessions()) {
    if (session->gpu != device.number()) continue;
    if (status.imports.size() == kImportsPerDeviceMax) break;
    auto import = std::make_unique<wire::GpuImportT>();
    import->session = number;
    import->client_name = session->client_name;
    import->pid = static_cast<uint32_t>(session->pid);
    status.imports.push_back(std::move(import));
  }
  status.copies_to_host = device.counters().bytes_to_host;
  status.copies_to_device = device.counters().bytes_to_device;
  status.copy_errors = device.counters().copy_errors;
  status.copies_waiting = static_cast<uint32_t>(device.copies_waiting());
  status.promotion_budget = node.config().gpu_promotion_bytes_per_second;
  return status;
}

}  // namespace

void HandleOpenGpu(const Request& request, ClientSession& session,
                   const wire::OpenGpuT& open) {
  const absl::StatusOr<const GpuDevice*> device = Open(request, session, open);
  if (!device.ok()) {
    return request.connection.ReplyError(request.id, device.status());
  }
  session.gpu = (*device)->number();
  wire::GpuPoolsT pools;
  pools.device = (*device)->number();
  pools.pool_count =
      static_cast<uint32_t>(session.host->geometry().gpu_pools.size());
  request.connection.Reply(request.id, std::move(pools));
  request.node.gpus().Announce(session);
  request.node.Deliver(*session.host);
}

void HandleGetGpus(const Request& request, const wire::GetGpusT& get) {
  wire::GpusT reply;
  size_t tables = 0;
  size_t bytes = 0;
  for (const auto& device : request.node.gpus().devices()) {
    if (device->number() < get.first) continue;
    auto status = std::make_unique<wire::GpuStatusT>(
        DescribeDevice(request.node, *device));
    tables += 1 + status->capabilities.size() + status->pools.size() +
              status->imports.size();
    bytes += 1024 + kTextBytesMax * status->capabilities.size() +
             kPoolBytes * status->pools.size() + 128 * status->imports.size();
    // One always fits, whatever its size.
    if (!reply.gpus.empty() &&
        (tables > kTablesMax || bytes > kMessageBytesGoal)) {
      reply.more = true;
      break;
    }
    reply.gpus.push_back(std::move(status));
  }
  request.connection.Reply(request.id, std::move(reply));
}

}  // namespace kvferry::control
