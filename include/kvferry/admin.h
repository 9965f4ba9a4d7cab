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

 private:
  struct Impl;
  explicit AdminClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvferry

#endif  // KVFERRY_ADMIN_H_
