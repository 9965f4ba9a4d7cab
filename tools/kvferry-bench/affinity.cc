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

std::string PinningText(const BenchOptions& options) {
  if (options.cpu_main < 0) return "none";
  return absl::StrCat(options.cpu_main, ",", options.cpu_other);
}

}  // namespace kvferry::bench
