#ifndef KVFERRY_DAEMON_MEMORY_PROBES_H_
#define KVFERRY_DAEMON_MEMORY_PROBES_H_

#include <cstdint>

#include "absl/status/status.h"

namespace kvferry::memory {

// What this machine and this process's rights allow, asked at the start. Each
// answers OK or why not.

// Whether there is a huge page to be had now.
absl::Status ProbeHugePages();

// Whether this process may lock `bytes`.
absl::Status ProbeLock(uint64_t bytes);

// Whether the NUMA node exists.
absl::Status ProbeNumaNode(int node);

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_PROBES_H_
