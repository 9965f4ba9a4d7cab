#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_AFFINITY_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_AFFINITY_H_

#include <sched.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "tools/kvferry-bench/options.h"

namespace kvferry::bench {

// Keeps the calling thread, and what it starts from now on, on one processor;
// -1: does nothing.
absl::Status PinThread(int cpu);

// Gives the thread back, when destroyed, the processors it had before.
class AffinityRestorer {
 public:
  AffinityRestorer();
  ~AffinityRestorer();
  AffinityRestorer(const AffinityRestorer&) = delete;
  AffinityRestorer& operator=(const AffinityRestorer&) = delete;

 private:
  cpu_set_t before_;
  bool known_ = false;
};

// The first two processors that this process may run on, for the measuring
// thread and for the rest; nothing when there is only one.
std::optional<std::pair<int, int>> TwoProcessors();

// What a row says of the pinning: "0,1", main then other, or "none".
std::string PinningText(const BenchOptions& options);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_AFFINITY_H_
