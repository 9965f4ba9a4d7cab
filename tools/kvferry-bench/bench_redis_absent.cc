#include <cstdio>

#include "tools/kvferry-bench/benches.h"

// In place of bench_redis.cc in a build without hiredis.

namespace kvferry::bench {

absl::Status BenchRedis(const BenchOptions&, RowSink*) {
  std::fputs("redis: skipped: this build has no hiredis\n", stderr);
  return absl::OkStatus();
}

}  // namespace kvferry::bench
