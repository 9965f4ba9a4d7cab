#ifndef KVFERRY_DAEMON_CONFIG_CONFIG_H_
#define KVFERRY_DAEMON_CONFIG_CONFIG_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/gpu_name.h"

namespace kvferry::config {

enum class Toggle { kAuto, kOn, kOff };

enum class LogLevel { kTrace, kDebug, kInfo, kWarning, kError };

// Who may do something. The daemon's own user and root always may.
struct AccessList {
  bool everybody = false;
  std::vector<uid_t> users;
  std::vector<gid_t> groups;

  // Nobody beyond the daemon's own user and root.
  bool owner_only() const {
    return !everybody && users.empty() && groups.empty();
  }
  friend bool operator==(const AccessList&, const AccessList&) = default;
};

// Who may enter a namespace. Publishing includes reading.
struct NamespaceAccess {
  std::string name;
  AccessList read;
  AccessList publish;
};

// How GPU memory is passed on to clients: as the device can, by descriptors of
// CUDA's virtual memory management, or by handles of CUDA's IPC.
enum class GpuExport { kAuto, kVmm, kIpc };

inline constexpr int64_t kSpinForever = -1;
inline constexpr int kNumaAuto = -1;

// What the daemon is told at its start: flags over file over defaults, every
// value checked. Nothing changes it afterwards. The table of its fields, with
// defaults, ranges and effects, is config_fields.cc.
struct Config {
  // [daemon]
  std::string socket;
  std::string directory;
  int64_t spin_us = 20;  // kSpinForever: the loop never sleeps
  LogLevel log_level = LogLevel::kInfo;

  // [memory]
  uint64_t pool_size_bytes = 0;
  Toggle huge_pages = Toggle::kAuto;
  Toggle lock = Toggle::kAuto;
  int numa_node = kNumaAuto;
  uint64_t segment_size_bytes = 0;  // 0: follows the namespace's quota

  // [gpu]
  std::vector<protocol::GpuName> gpu_devices;  // in order of their numbers
  uint64_t gpu_pool_size_bytes = uint64_t{1} << 30;
  uint64_t gpu_namespace_quota_bytes = 0;  // 0: what is left of the device's
  GpuExport gpu_export = GpuExport::kAuto;
  uint32_t gpu_high_percent = 90;  // of a pool's blocks
  uint32_t gpu_low_percent = 75;   // below the former
  uint64_t gpu_promotion_bytes_per_second = uint64_t{1} << 30;  // 0: off
  std::string gpu_worker;  // empty: found as worker::FindProgram says

  // [template]
  bool allow_create = true;
  uint64_t namespace_quota_bytes = 0;  // 0: what is left of the pool
  AccessList default_read;
  AccessList default_publish;

  // [[namespace]]
  std::vector<NamespaceAccess> namespaces;

  // True when somebody beyond the daemon's own user and root may enter any
  // namespace.
  bool open_to_others() const;
};

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_CONFIG_H_
