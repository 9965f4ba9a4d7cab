#include "tools/kvferry-bench/copies.h"

#include <utility>

#include "base/status.h"
#include "tools/kvferry-bench/interleave.h"
#include "tools/kvferry-bench/plain_copy.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;

}  // namespace

CopyScale CopyScaleOf(const BenchOptions& options) {
  CopyScale scale;
  scale.page_bytes = {64 * kKiB, 256 * kKiB, kMiB, 4 * kMiB};
  // A batch of the largest pages is 256 MiB; two fit in any pool.
  scale.pool_bytes =
      ByScale<uint64_t>(options, 640 * kMiB, 1024 * kMiB, 2048 * kMiB);
  scale.buffer_bytes =
      ByScale<uint64_t>(options, 256 * kMiB, 512 * kMiB, 1024 * kMiB);
  // Short rounds and many: what disturbs the machine then hits all contestants
  // alike.
  scale.round_bytes =
      ByScale<uint64_t>(options, 16 * kMiB, 64 * kMiB, 64 * kMiB);
  scale.rounds = ByScale<uint32_t>(options, 1, 15, 41);
  return scale;
}

absl::Status RaceCopies(const CopyScale& scale, uint64_t page_bytes,
                        const TimedBatch& ours, const NextPage& sources,
                        const NextPage& targets, Row* row) {
  const uint64_t batches = scale.batches_per_round(page_bytes);
  std::vector<double> batch_ns;
  std::vector<Contestant> contestants;
  contestants.push_back({"ours", [&]() -> absl::StatusOr<double> {
                           double round_ns = 0;
                           for (uint64_t i = 0; i < batches; ++i) {
                             KVFERRY_ASSIGN_OR_RETURN(const double one_ns,
                                                      ours());
                             batch_ns.push_back(one_ns);
                             round_ns += one_ns;
                           }
                           return round_ns;
                         }});
  const std::vector<PlainCopy> copies = PlainCopies();
  for (const PlainCopy& plain : copies) {
    contestants.push_back(
        {plain.name, [&, copy = plain.copy]() -> absl::StatusOr<double> {
           double round_ns = 0;
           for (uint64_t i = 0; i < batches; ++i) {
             const uint64_t start_ns = NowNs();
             for (uint64_t j = 0; j < scale.batch; ++j) {
               copy(targets(), sources(), page_bytes);
             }
             round_ns += static_cast<double>(NowNs() - start_ns);
           }
           return round_ns;
         }});
  }
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<ContestantTimes> times,
                           Interleave(contestants, scale.rounds));

  const ContestantTimes* fastest = &times[1];
  for (size_t i = 2; i < times.size(); ++i) {
    if (times[i].median_ns < fastest->median_ns) fastest = &times[i];
  }
  const auto bytes = static_cast<double>(batches * scale.batch * page_bytes);
  // Bytes a nanosecond are gigabytes a second.
  row->Latency(Median(batch_ns), Quantile(batch_ns, 0.99))
      .Rate(bytes / times[0].median_ns, bytes / fastest->median_ns,
            fastest->name)
      .Figure("memcpy_gb_per_s", bytes / times[1].median_ns)
      .Figure("rounds", scale.rounds);
  return absl::OkStatus();
}

}  // namespace kvferry::bench
