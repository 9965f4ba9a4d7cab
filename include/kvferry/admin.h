#ifndef KVFERRY_ADMIN_H_
#define KVFERRY_ADMIN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kvferry/export.h"
#include "kvferry/key.h"
#include "kvferry/layout.h"

namespace kvferry {

struct DaemonStatus {
  std::string version;
  uint32_t pid = 0;
  uint64_t epoch = 0;
  absl::Duration uptime;
  std::string socket;
  std::string directory;
  uint64_t pool_bytes = 0;
  uint64_t used_bytes = 0;
  bool memory_locked = false;
  std::string memory_note;
  bool huge_pages = false;
  std::string read_only_note;
  uint32_t namespace_count = 0;
  uint32_t session_count = 0;
  uint64_t loop_iterations = 0;
  absl::Duration loop_max;
  uint64_t doorbells = 0;
  uint64_t sessions_refused = 0;
  uint64_t sessions_closed_for_cause = 0;
};

struct GroupStatus {
  std::string name;
  uint32_t blocks = 0;
  uint32_t present = 0;
  uint32_t free = 0;
  uint32_t granted = 0;
  uint32_t publishing = 0;
  uint32_t ready = 0;
  uint32_t quarantined = 0;
  uint64_t stride_bytes = 0;
  uint32_t in_io = 0;    // a worker process copies from or to them
  uint32_t resting = 0;  // of quarantined: a dead client's GPU may write
};

struct NamespaceStatus {
  uint64_t id = 0;
  NamespaceSpec spec;
  std::string fingerprint_hex;
  uint64_t quota_bytes = 0;
  uint64_t populated_bytes = 0;
  uint64_t content_epoch = 0;
  uint32_t sessions = 0;
  std::vector<GroupStatus> groups;
  uint64_t lookups = 0;
  uint64_t hit_blocks = 0;
  uint64_t missed_lookups = 0;
  uint64_t published_blocks = 0;
  uint64_t evicted_blocks = 0;
  uint64_t aborted_blocks = 0;
  uint64_t no_space = 0;
  uint64_t standby_blocks = 0;  // written beside another writer
  uint64_t adopted_blocks = 0;  // of those, put in its place when it failed
  uint64_t stalled_publications = 0;  // given up, their writer stood still
  uint32_t open_publications = 0;
  uint32_t leases = 0;
  uint32_t overhead_bytes_per_block = 0;
};

struct SessionInfo {
  uint32_t session = 0;
  std::string namespace_name;
  std::string client_name;
  uint32_t pid = 0;
  uint32_t uid = 0;
  bool publish = false;
  uint32_t granted = 0;
  uint32_t publications = 0;
  uint32_t pinned_blocks = 0;
  uint64_t matches = 0;
  uint64_t hit_blocks = 0;
  absl::Duration age;
  int32_t gpu = -1;  // number of the device that it opened; -1: none
};

struct BlockInfo {
  BlockKey key;
  uint32_t group = 0;
  uint32_t block = 0;
  uint32_t generation = 0;
  std::string state;  // pending, ready, retiring
  BlockKey parent;
  uint32_t children = 0;
  uint32_t pins = 0;
  absl::Duration last_use_ago;
  uint64_t bytes = 0;
  // Its residence in GPU memory, beside `block` in host memory.
  uint32_t gpu_pool = 0;  // 0: none, and what follows means nothing
  uint32_t gpu_block = 0;
  std::string gpu_state;
  uint32_t gpu_pins = 0;
};

// Blocks of one group of a namespace in one GPU's memory.
struct GpuPoolStatus {
  std::string namespace_name;
  std::string group_name;
  uint32_t pool = 0;         // its number in the namespace, from 1
  uint32_t incarnation = 0;  // odd while it has memory
  // How others get at it: "descriptor", "handle"; "none": they cannot.
  std::string exported_by;
  std::string reason;  // why it has no memory; empty: it has
  uint32_t blocks = 0;
  uint32_t free = 0;
  uint32_t granted = 0;
  uint32_t publishing = 0;
  uint32_t ready = 0;
  uint32_t in_io = 0;
  uint32_t quarantined = 0;
  uint32_t resting = 0;    // of quarantined: a dead client's GPU may write
  uint32_t not_clean = 0;  // of ready: their host copy is still to be made
  // With more blocks taken than the first, clean copies are dropped until no
  // more than the second are.
  uint32_t high_blocks = 0;
  uint32_t low_blocks = 0;
  uint64_t stride_bytes = 0;
  // Blocks, since the daemon started.
  uint64_t written_behind = 0;
  uint64_t dropped = 0;
  uint64_t promoted = 0;
  uint64_t spilled = 0;  // begun here, but written to the host for want of room
  uint64_t lost = 0;     // went with a worker before their host copy was made
};

// Something that a device may lack.
struct GpuCapability {
  std::string name;
  bool available = false;
  std::string reason;  // when it is not
};

// A session that opened the device.
struct GpuImport {
  uint32_t session = 0;
  std::string client_name;
  uint32_t pid = 0;
};

// One device that the daemon serves, or was configured to.
struct GpuStatus {
  uint32_t device = 0;  // its number in the daemon's list
  std::string uuid;     // "GPU-...", "emulated:N"; empty: not known yet
  std::string configured_as;
  bool emulated = false;
  std::string state;   // starting, serving, backoff, unusable
  std::string reason;  // of the last two
  std::string name;
  uint32_t ordinal = 0;  // in the worker process
  uint32_t worker_pid = 0;
  uint32_t restarts = 0;
  std::string export_mode;  // auto, vmm, ipc
  uint64_t total_bytes = 0;
  uint64_t pool_bytes = 0;      // what namespaces may have
  uint64_t used_bytes = 0;      // what they have
  uint32_t driver_version = 0;  // as CUDA: 13000 is 13.0; 0: none
  uint32_t runtime_version = 0;
  std::vector<GpuCapability> capabilities;
  std::vector<GpuPoolStatus> pools;
  std::vector<GpuImport> imports;
  uint64_t bytes_to_host = 0;  // copied by the worker since the daemon started
  uint64_t bytes_to_device = 0;
  uint64_t copy_errors = 0;
  uint32_t copies_waiting = 0;
  uint64_t promotion_bytes_per_s = 0;  // at most; 0: off
};

struct EvictResult {
  uint32_t evicted = 0;
  uint32_t pinned = 0;
};

struct ClearResult {
  uint64_t content_epoch = 0;
  uint32_t blocks = 0;
};

// An operator's connection. Only root and the daemon's own user are answered
// (kPermissionDenied otherwise). Every call is one round trip, or a few.
// Threads  one thread at a time
class KVFERRY_EXPORT AdminClient {
 public:
  // Errors  kUnavailable  no daemon at the socket
  static absl::StatusOr<std::unique_ptr<AdminClient>> Connect(
      absl::string_view socket_path, absl::Duration timeout);
  ~AdminClient();
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  absl::StatusOr<DaemonStatus> Status();
  absl::StatusOr<std::vector<NamespaceStatus>> Namespaces();
  // Errors  kAlreadyExists, kInvalidArgument, kResourceExhausted
  absl::Status CreateNamespace(const NamespaceSpec& spec, uint64_t quota_bytes);
  absl::StatusOr<std::vector<SessionInfo>> Sessions();
  // Blocks whose key begins with `prefix_hex`, at most `limit`.
  absl::StatusOr<std::vector<BlockInfo>> Blocks(
      absl::string_view namespace_name, absl::string_view prefix_hex,
      uint32_t limit);
  absl::StatusOr<EvictResult> Evict(absl::string_view namespace_name,
                                    absl::string_view prefix_hex,
                                    uint32_t limit);
  absl::StatusOr<ClearResult> Clear(absl::string_view namespace_name);
  // Devices in order of their numbers; empty: the daemon is to serve none.
  absl::StatusOr<std::vector<GpuStatus>> Gpus();

 private:
  struct Impl;
  explicit AdminClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvferry

#endif  // KVFERRY_ADMIN_H_
