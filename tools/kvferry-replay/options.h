#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_OPTIONS_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "kvferry/layout.h"

namespace kvferry::replay {

// What a replay is told. The coordinator hands the part that workers need on
// to them, on their command line.
struct ReplayOptions {
  std::string trace_path;

  // Where: a running daemon's socket, or one of the replay's own.
  std::string socket;
  std::string daemon_path;
  std::string namespace_name = "kvferry-replay";
  // Holds every block of an hour of conversations (183 thousand) at 4 KiB.
  uint64_t pool_bytes = uint64_t{1} << 30;

  // What.
  uint64_t page_bytes = 4096;
  uint32_t block_tokens = 512;
  uint64_t requests_max = UINT64_MAX;
  uint64_t seed = 1;

  // How.
  uint32_t worker_count = 2;
  double pace = 0;  // real time divided by it; 0: as fast as possible
  // Longest wait for the daemon in one call.
  absl::Duration timeout = absl::Seconds(30);
  bool json = false;

  // How a worker is told that it is one: its end of the channel.
  int worker_fd = -1;
  uint32_t worker_number = 0;
};

inline constexpr uint32_t kWorkersMax = 64;

// One group of pages without inner structure. Its geometry decides the
// namespace's fingerprint, so replays with other pages do not meet.
inline NamespaceSpec ReplaySpec(const ReplayOptions& options) {
  NamespaceSpec spec;
  spec.name = options.namespace_name;
  spec.model = "request-trace";
  spec.dtype = "opaque";
  spec.groups.push_back(OpaqueGroup(options.block_tokens, options.page_bytes));
  return spec;
}

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_OPTIONS_H_
