#ifndef KVFERRY_OPTIONS_H_
#define KVFERRY_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "kvferry/export.h"
#include "kvferry/layout.h"

namespace kvferry {

// Which residences of a block count as a hit.
enum class ResidenceUse : uint8_t {
  // Those in host memory, which every process can read.
  kHost = 0,
  // Those in GPU memory, too, the host's first: for a process that decides
  // (a scheduler) and has others read. Its own pages of them are empty.
  kAny = 1,
};

struct AttachOptions {
  // The daemon's socket; empty: DefaultSocketPath().
  std::string socket_path;
  // The namespace to enter. With accept_existing only `name` is read.
  NamespaceSpec spec;
  // Take the geometry the daemon has (tools, examples).
  bool accept_existing = false;
  // Make the namespace if it is not there and the daemon's template allows it.
  bool create = true;
  // Without it the session can match but not publish.
  bool publish = true;
  // Shown by `kvferryctl sessions`; empty: the program's name.
  std::string client_name;
  // How long Attach may take, including the wait for the first memory.
  absl::Duration timeout = absl::Seconds(10);
  // Wait until every group has at least one populated segment.
  bool wait_for_memory = true;
  // How long a thread that waits for the daemon polls before it sleeps.
  absl::Duration spin = absl::Microseconds(20);
  // A client whose process opened a Gpu (kvferry/gpu.h) prefers GPU residences
  // that it can reach, whatever this says.
  ResidenceUse residences = ResidenceUse::kHost;
  // Attach again by itself after the daemon restarted.
  bool reattach = true;
};

// $KVFERRY_SOCKET; else, as root, /run/kvferry/kvferryd.sock; else
// $XDG_RUNTIME_DIR/kvferry/kvferryd.sock, or /tmp/kvferry-UID/kvferryd.sock.
KVFERRY_EXPORT std::string DefaultSocketPath();

}  // namespace kvferry

#endif  // KVFERRY_OPTIONS_H_
