#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_GPU_MEASURES_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_GPU_MEASURES_H_

#include "absl/status/status.h"
#include "tools/kvferry-bench/gpu_target.h"
#include "tools/kvferry-bench/options.h"
#include "tools/kvferry-bench/row.h"

namespace kvferry::bench {

// The parts of `gpu`, one file each; README.md says what their rows mean. What
// the device cannot do they say on standard error and have no row for.

// Gather and scatter within device memory, beside one copy of as many bytes.
absl::Status MeasureGpuTransfers(const BenchOptions& options,
                                 const GpuTarget& target, RowSink* sink);
// The same between device and registered host memory, and whole blocks as the
// worker process copies them, beside one copy of as many bytes.
absl::Status MeasureGpuHost(const BenchOptions& options,
                            const GpuTarget& target, RowSink* sink);
// Another process imports memory of this one and copies out of it, beside a
// copy of its own memory.
absl::Status MeasureGpuImport(const BenchOptions& options,
                              const GpuTarget& target, RowSink* sink);
// Match and PullTo through a kvferryd and a kvferry-gpu of our own.
absl::Status MeasureGpuRestore(const BenchOptions& options,
                               const GpuTarget& target, RowSink* sink);

// Kernel beside copies for each length of a run, as a table on standard output:
// what gpu/transfer_policy.h is set by.
absl::Status CalibrateGpu(const BenchOptions& options);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_GPU_MEASURES_H_
