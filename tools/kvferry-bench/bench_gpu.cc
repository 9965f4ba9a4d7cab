#include <utility>

#include "absl/status/status.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/gpu_measures.h"
#include "tools/kvferry-bench/gpu_target.h"

// What a GPU's copies cost with and without KVFerry between.

namespace kvferry::bench {

absl::Status BenchGpu(const BenchOptions& options, RowSink* sink) {
  KVFERRY_ASSIGN_OR_RETURN(const GpuTarget target, GpuTarget::Open(options));
  KVFERRY_RETURN_IF_ERROR(PinThread(options.cpu_main));
  // A part that fails does not keep the others from being measured.
  absl::Status first;
  for (const auto& measure : {MeasureGpuTransfers, MeasureGpuHost,
                              MeasureGpuImport, MeasureGpuRestore}) {
    absl::Status status = measure(options, target, sink);
    if (first.ok()) first = std::move(status);
  }
  return first;
}

}  // namespace kvferry::bench
