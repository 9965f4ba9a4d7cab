#ifndef KVFERRY_DAEMON_CONTROL_GPU_DEVICES_H_
#define KVFERRY_DAEMON_CONTROL_GPU_DEVICES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/control/client_session.h"
#include "daemon/control/gpu_device.h"
#include "daemon/control/namespace_host.h"
#include "daemon/control/poller.h"
#include "protocol/geometry.h"

namespace kvferry::control {

// The GPUs of the configuration, in order of their numbers: what they give to
// namespaces, and what sessions are told of it. Without any it costs nothing.
//
// Threads  the control loop's
class GpuDevices : private GpuDevice::Observer {
 public:
  // `deliver`: after calls of a host's core. References outlive it.
  GpuDevices(const config::Config& config, Poller& poller,
             std::function<void(NamespaceHost&)> deliver);
  // Ends all workers, together.
  ~GpuDevices() override;
  GpuDevices(const GpuDevices&) = delete;
  GpuDevices& operator=(const GpuDevices&) = delete;

  // What a namespace that is made now gets of each device.
  std::vector<protocol::GpuQuota> QuotasForNamespace() const;
  // Takes in a namespace that was made, and its segments as they come: before
  // any block of theirs is used.
  void AddHost(NamespaceHost* host, uint64_t now_ms);
  void AddSegment(const NamespaceHost& host, const memory::Segment& segment,
                  uint64_t now_ms);

  // Tells a session that opened a device of every pool of its namespace.
  void Announce(const ClientSession& session) const;

  void Tick(uint64_t now_ms);
  void HandleSocket(uint64_t number, uint64_t now_ms);
  void HandleExit(uint64_t number, uint64_t now_ms);
  // Completions in, orders out. Returns how many completions.
  size_t Pump(uint64_t now_ms);
  // Whether Pump would find completions.
  bool Ready() const;
  void SetAsleep(bool asleep);
  uint64_t SleepLimitMs(uint64_t now_ms) const;

  const std::vector<std::unique_ptr<GpuDevice>>& devices() const {
    return devices_;
  }
  // Null: the daemon does not serve it.
  const GpuDevice* Find(std::span<const uint8_t> uuid) const;
  // Of the namespaces' pools on the device, whether there is memory or not.
  uint64_t BytesGiven(const GpuDevice& device) const;

 private:
  void OnGpuPoolChanged(NamespaceHost& host, uint32_t pool) override;
  void OnGpuWork(NamespaceHost& host) override { deliver_(host); }
  void Tell(const ClientSession& session, const GpuDevice& device,
            const GpuPoolMemory& memory) const;

  const config::Config& config_;
  const std::function<void(NamespaceHost&)> deliver_;
  std::vector<std::unique_ptr<GpuDevice>> devices_;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_GPU_DEVICES_H_
