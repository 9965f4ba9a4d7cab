#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_PEER_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_PEER_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "tools/kvferry-bench/handoff_board.h"

namespace kvferry::bench {

// What the other process does.
enum class PeerRole : uint32_t {
  kChurn = 1,      // publishes blocks at a steady rate
  kWaiter = 2,     // polls Match on one key after the other
  kPublisher = 3,  // publishes the rounds that `handoff` asks for
};

// The memory that a benchmark shares with its other process. The parent fills
// in the plain members before it starts the peer.
struct PeerBoard {
  PeerRole role = PeerRole::kChurn;
  int32_t cpu = -1;
  uint64_t key_seed = 0;
  uint64_t page_bytes = 0;
  double blocks_per_s = 0;
  char socket[256] = {};
  char namespace_name[160] = {};

  // Set by the peer once it is attached.
  alignas(64) std::atomic<uint32_t> ready;
  // Set by the parent: end now.
  std::atomic<uint32_t> stop;
  // Of the peer: blocks published, or rounds in which it saw its key. Stored
  // (release) after seen_ns.
  alignas(64) std::atomic<uint64_t> done;
  // NowNs() of the last sight.
  std::atomic<uint64_t> seen_ns;

  // Of kPublisher alone.
  HandoffBoard handoff;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

struct PeerOptions {
  PeerRole role = PeerRole::kChurn;
  std::string socket;
  std::string namespace_name;
  uint64_t key_seed = 0;
  uint64_t page_bytes = 0;
  double blocks_per_s = 0;
  int cpu = -1;
};

// This program once more, as another process of the same namespace. Destroying
// it ends the process.
class Peer {
 public:
  // Returns once the peer is attached.
  // Errors  kUnavailable  it ended (what it said is on standard error)
  static absl::StatusOr<Peer> Start(const PeerOptions& options);
  Peer(Peer&& other) noexcept;
  Peer& operator=(Peer&&) = delete;
  ~Peer();

  const PeerBoard& board() const { return *board_; }
  HandoffBoard* handoff() { return &board_->handoff; }
  pid_t pid() const { return pid_; }
  // Errors  kInternal  it did not end well
  absl::Status Stop();

 private:
  Peer(Mapping memory, pid_t pid);
  absl::Status AwaitReady();

  Mapping memory_;
  PeerBoard* board_;
  pid_t pid_;
};

// What a process that was started as a peer runs instead of benchmarks;
// `board_fd` holds the PeerBoard.
absl::Status RunPeer(int board_fd);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_PEER_H_
