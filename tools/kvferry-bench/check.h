#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_CHECK_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_CHECK_H_

#include <vector>

#include "absl/status/status.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/floors.h"
#include "tools/kvferry-bench/options.h"
#include "tools/kvferry-bench/row.h"

namespace kvferry::bench {

// Runs the benchmarks; one that fails does not keep the others from running.
// Errors  the first one's
absl::Status RunBenches(const std::vector<Bench>& benches,
                        const BenchOptions& options, RowSink* sink);

// Runs the benchmarks and compares their rows with the floors; what falls
// short is measured up to twice more, and counts only when it falls short each
// time. Says so on standard error, line by line. Rows of the emulated device
// have to be there, and are compared with nothing.
// Errors  kFailedPrecondition  some row falls short, or is missing
//         also as a benchmark
absl::Status CheckFloors(const std::vector<Bench>& benches,
                         const BenchOptions& options, const Floors& floors,
                         RowSink* sink);

// Runs the benchmarks at their smallest and checks that they work, not how
// fast: every row that the floors speak of is there, and its figures are
// finite and above zero.
// Errors  as CheckFloors
absl::Status CheckFunction(const std::vector<Bench>& benches,
                           const BenchOptions& options, const Floors& floors,
                           RowSink* sink);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_CHECK_H_
