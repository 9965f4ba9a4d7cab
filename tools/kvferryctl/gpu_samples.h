#ifndef KVFERRY_TOOLS_KVFERRYCTL_GPU_SAMPLES_H_
#define KVFERRY_TOOLS_KVFERRYCTL_GPU_SAMPLES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "kvferry/admin.h"

namespace kvferry::ctl {

// What the daemon said of its GPUs at one moment, and at one before it.
struct GpuSamples {
  std::vector<GpuStatus> now;
  // Without it counters are totals since the daemon started.
  struct Earlier {
    std::vector<GpuStatus> gpus;
    absl::Duration ago;
  };
  std::optional<Earlier> earlier;

  // A device and a pool as they were then; null: not looked at, or not there.
  const GpuStatus* Before(const GpuStatus& gpu) const;
  const GpuPoolStatus* Before(const GpuStatus& gpu,
                              const GpuPoolStatus& pool) const;
  absl::Duration between() const {
    return earlier ? earlier->ago : absl::ZeroDuration();
  }
};

// What was counted a second between two samples. A counter that fell was begun
// anew by a daemon that was restarted: what it counts is of since then.
double PerSecond(uint64_t before, uint64_t now, absl::Duration between);

// What is counted of a pool: its member of JSON, its column of text.
struct PoolCounter {
  const char* name;
  const char* title;
  uint64_t GpuPoolStatus::*member;
};
inline constexpr PoolCounter kPoolCounters[] = {
    {"written_behind", ">TO HOST", &GpuPoolStatus::written_behind},
    {"dropped", ">DROPPED", &GpuPoolStatus::dropped},
    {"promoted", ">PROMOTED", &GpuPoolStatus::promoted},
    {"spilled", ">SPILLED", &GpuPoolStatus::spilled},
    {"lost", ">LOST", &GpuPoolStatus::lost},
};

}  // namespace kvferry::ctl

#endif  // KVFERRY_TOOLS_KVFERRYCTL_GPU_SAMPLES_H_
