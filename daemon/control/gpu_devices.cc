#include "daemon/control/gpu_devices.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/connection.h"
#include "protocol/shm_layout.h"

namespace kvferry::control {

namespace wire = protocol::wire;

GpuDevices::GpuDevices(const config::Config& config, Poller& poller,
                       std::function<void(NamespaceHost&)> deliver)
    : config_(config), deliver_(std::move(deliver)) {
  for (const protocol::GpuName& name : config.gpu_devices) {
    const auto number = static_cast<uint32_t>(devices_.size());
    devices_.push_back(std::make_unique<GpuDevice>(
        number, name, config, absl::StrCat(config.directory, "/gpu.", number),
        poller, static_cast<GpuDevice::Observer&>(*this)));
  }
}

GpuDevices::~GpuDevices() {
  for (const auto& device : devices_) device->Stop();
}

std::vector<protocol::GpuQuota> GpuDevices::QuotasForNamespace() const {
  std::vector<protocol::GpuQuota> quotas;
  for (const auto& device : devices_) {
    const uint64_t given = BytesGiven(*device);
    const uint64_t left = config_.gpu_pool_size_bytes -
                          std::min(given, config_.gpu_pool_size_bytes);
    protocol::GpuQuota quota;
    quota.device_uuid = device->name().uuid;
    quota.device = device->number();
    quota.bytes = config_.gpu_namespace_quota_bytes == 0
                      ? left
                      : std::min(left, config_.gpu_namespace_quota_bytes);
    quotas.push_back(quota);
  }
  return quotas;
}

uint64_t GpuDevices::BytesGiven(const GpuDevice& device) const {
  uint64_t bytes = 0;
  for (const GpuPoolMemory& memory : device.pools()) bytes += memory.bytes;
  return bytes;
}

void GpuDevices::AddHost(NamespaceHost* host, uint64_t now_ms) {
  for (const auto& device : devices_) device->AddHost(host, now_ms);
}

void GpuDevices::AddSegment(const NamespaceHost& host,
                            const memory::Segment& segment, uint64_t now_ms) {
  for (const auto& device : devices_) {
    device->AddSegment(host, segment, now_ms);
  }
}

void GpuDevices::Tick(uint64_t now_ms) {
  for (const auto& device : devices_) device->Tick(now_ms);
}

void GpuDevices::HandleSocket(uint64_t number, uint64_t now_ms) {
  if (number < devices_.size()) devices_[number]->HandleSocket(now_ms);
}

void GpuDevices::HandleExit(uint64_t number, uint64_t now_ms) {
  if (number < devices_.size()) devices_[number]->HandleExit(now_ms);
}

size_t GpuDevices::Pump(uint64_t now_ms) {
  size_t taken = 0;
  for (const auto& device : devices_) {
    taken += device->TakeCompletions(now_ms);
    device->GiveOrders(now_ms);
  }
  return taken;
}

bool GpuDevices::Ready() const {
  return std::any_of(devices_.begin(), devices_.end(),
                     [](const auto& device) { return device->Ready(); });
}

void GpuDevices::SetAsleep(bool asleep) {
  for (const auto& device : devices_) device->SetAsleep(asleep);
}

uint64_t GpuDevices::SleepLimitMs(uint64_t now_ms) const {
  uint64_t due_ms = UINT64_MAX;
  for (const auto& device : devices_) {
    due_ms = std::min(due_ms, device->NextDueMs());
  }
  if (due_ms == UINT64_MAX) return UINT64_MAX;
  return due_ms > now_ms ? due_ms - now_ms : 0;
}

const GpuDevice* GpuDevices::Find(std::span<const uint8_t> uuid) const {
  for (const auto& device : devices_) {
    const protocol::GpuUuid& own = device->name().uuid;
    if (std::equal(own.begin(), own.end(), uuid.begin(), uuid.end())) {
      return device.get();
    }
  }
  return nullptr;
}

void GpuDevices::Announce(const ClientSession& session) const {
  for (const auto& device : devices_) {
    for (const GpuPoolMemory& memory : device->pools()) {
      if (memory.host == session.host) Tell(session, *device, memory);
    }
  }
}

void GpuDevices::OnGpuPoolChanged(NamespaceHost& host, uint32_t pool) {
  for (const auto& device : devices_) {
    for (const GpuPoolMemory& memory : device->pools()) {
      if (memory.host != &host || memory.pool != pool) continue;
      for (const ClientSession* session : host.sessions()) {
        if (session->gpu.has_value()) Tell(*session, *device, memory);
      }
    }
  }
  deliver_(host);
}

void GpuDevices::Tell(const ClientSession& session, const GpuDevice& device,
                      const GpuPoolMemory& memory) const {
  if (session.connection == nullptr) return;
  wire::GpuPoolChangedT changed;
  changed.pool = static_cast<uint8_t>(memory.pool);
  changed.incarnation = memory.host->GpuIncarnation(memory.pool);
  changed.kind = device.name().emulated ? wire::DeviceKind::Emulated
                                        : wire::DeviceKind::Cuda;
  changed.export_ = memory.export_kind;
  changed.bytes = memory.bytes;
  changed.handle = memory.handle;
  changed.worker_pid = device.worker_pid();
  changed.reason = device.ReasonAgainst(memory);
  const int fd = memory.fd.get();
  session.connection->Reply(
      0, std::move(changed),
      memory.fd.valid() ? std::span(&fd, 1) : std::span<const int>());
}

}  // namespace kvferry::control
