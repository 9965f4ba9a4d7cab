#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_COPIES_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_COPIES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/options.h"
#include "tools/kvferry-bench/row.h"

namespace kvferry::bench {

// What `publish`, `pull` and `redis` have in common: pages of some sizes in
// batches, each round as many bytes by every contestant.
struct CopyScale {
  std::vector<uint64_t> page_bytes;
  uint64_t batch = 64;
  uint64_t pool_bytes = 0;    // the daemon's
  uint64_t buffer_bytes = 0;  // the engine's
  uint64_t round_bytes = 0;
  uint32_t rounds = 0;

  uint64_t batches_per_round(uint64_t page) const {
    const uint64_t batches = round_bytes / (page * batch);
    return batches == 0 ? 1 : batches;
  }
};
CopyScale CopyScaleOf(const BenchOptions& options);

// Times one batch: returns its nanoseconds.
using TimedBatch = std::function<absl::StatusOr<double>()>;

// The page a plain copy uses next.
using NextPage = std::function<std::byte*()>;

// Races `ours` against every plain copy of the same number of pages from
// `sources` to `targets`, and fills in the row: the time of a batch, and the
// rate beside the fastest plain copy's.
absl::Status RaceCopies(const CopyScale& scale, uint64_t page_bytes,
                        const TimedBatch& ours, const NextPage& sources,
                        const NextPage& targets, Row* row);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_COPIES_H_
