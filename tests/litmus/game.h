#ifndef KVFERRY_TESTS_LITMUS_GAME_H_
#define KVFERRY_TESTS_LITMUS_GAME_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "tests/litmus/variant.h"

namespace kvferry::litmus {

// How the rounds of one variant ended, by who saw whom.
struct Tally {
  uint64_t rounds = 0;
  // The client took the slot for valid and the daemon the block for unpinned:
  // the bytes would be rewritten under the reader.
  uint64_t violations = 0;
  uint64_t kept = 0;          // valid, and the pin was seen
  uint64_t retired = 0;       // the mark was seen, the pin was not
  uint64_t both_yielded = 0;  // mark and pin were seen; harmless
  double seconds = 0;
};

struct Cpus {
  int daemon;
  int client;
};

// Two CPUs that this process may run on, or kUnavailable when there is one.
absl::StatusOr<Cpus> ChooseCpus();

// Plays `rounds` rounds (up to a whole batch) of client against daemon: this
// process is the daemon, a forked one the client, each on its own CPU. Ends
// early once `violations_enough` were seen.
//
// Leaves this process pinned to cpus.daemon.
// Errors  kAborted  the client process ended before its time
//         as ErrnoStatus  memfd, fork or pinning failed
absl::StatusOr<Tally> Play(const Variant& variant, Cpus cpus, uint64_t rounds,
                           uint64_t violations_enough);

}  // namespace kvferry::litmus

#endif  // KVFERRY_TESTS_LITMUS_GAME_H_
