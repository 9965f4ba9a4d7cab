#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_BENCHES_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_BENCHES_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "tools/kvferry-bench/options.h"
#include "tools/kvferry-bench/row.h"

namespace kvferry::bench {

// Each measures one thing and adds its rows; README.md says what they mean.
// One file each, bench_NAME.cc.
absl::Status BenchMatch(const BenchOptions& options, RowSink* sink);
absl::Status BenchHash(const BenchOptions& options, RowSink* sink);
absl::Status BenchPublish(const BenchOptions& options, RowSink* sink);
absl::Status BenchPull(const BenchOptions& options, RowSink* sink);
absl::Status BenchPublishInPlace(const BenchOptions& options, RowSink* sink);
absl::Status BenchWake(const BenchOptions& options, RowSink* sink);
absl::Status BenchHandoff(const BenchOptions& options, RowSink* sink);
absl::Status BenchMemory(const BenchOptions& options, RowSink* sink);
absl::Status BenchRedis(const BenchOptions& options, RowSink* sink);
absl::Status BenchGpu(const BenchOptions& options, RowSink* sink);

struct Bench {
  std::string_view name;
  absl::Status (*run)(const BenchOptions& options, RowSink* sink);
};

// All of them, in the order in which `all` runs them.
const std::vector<Bench>& AllBenches();

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_BENCHES_H_
