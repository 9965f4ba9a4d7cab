#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_OPTIONS_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_OPTIONS_H_

#include <cstdint>
#include <string>

namespace kvferry::bench {

// How much is measured.
enum class Scale {
  kSmoke,  // the smallest sizes, to see that everything works
  kQuick,  // a fraction of the memory and of the time
  kFull,   // what docs/performance.md quotes
};

struct BenchOptions {
  Scale scale = Scale::kFull;
  // Empty: the kvferryd beside this program.
  std::string daemon_binary;
  // Of a running daemon; empty: each benchmark starts its own.
  std::string socket;
  // The processors of the measuring thread, and of the daemon and the helper
  // processes; -1: the scheduler's choice.
  int cpu_main = -1;
  int cpu_other = -1;
  // The pool of `memory` and of `handoff`; 0: by scale, and for `handoff` by
  // what memory there is.
  uint64_t pool_bytes = 0;
  // What the other process publishes during `match`.
  uint32_t churn_blocks_per_s = 20'000;
  // What `gpu` measures, as gpu::OpenDevice takes it; empty: the first CUDA
  // device, or the emulated one where there is none.
  std::string gpu_device;
};

// One of three values by the scale.
template <typename T>
T ByScale(const BenchOptions& options, T smoke, T quick, T full) {
  switch (options.scale) {
    case Scale::kSmoke:
      return smoke;
    case Scale::kQuick:
      return quick;
    case Scale::kFull:
      return full;
  }
  return full;
}

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_OPTIONS_H_
