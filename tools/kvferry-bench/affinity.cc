#include "tools/kvferry-bench/affinity.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::bench {

absl::Status PinThread(int cpu) {
  if (cpu < 0) return absl::OkStatus();
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) {
    return ErrnoStatus(errno, absl::StrCat("pinning to processor ", cpu));
  }
  return absl::OkStatus();
}

AffinityRestorer::AffinityRestorer()
    : known_(::sched_getaffinity(0, sizeof(before_), &before_) == 0) {}

AffinityRestorer::~AffinityRestorer() {
  if (known_) (void)::sched_setaffinity(0, sizeof(before_), &before_);
}

std::optional<std::pair<int, int>> TwoProcessors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return std::nullopt;
  int first = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(static_cast<size_t>(cpu), &set)) continue;
    if (first >= 0) return std::pair(first, cpu);
    first = cpu;
  }
  return std::nullopt;
}

std::string PinningText(const BenchOptions& options) {
  if (options.cpu_main < 0) return "none";
  return absl::StrCat(options.cpu_main, ",", options.cpu_other);
}

}  // namespace kvferry::bench
