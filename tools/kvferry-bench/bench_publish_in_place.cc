#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/stage.h"
#include "tools/kvferry-bench/statistics.h"

// What an engine pays that writes its KV straight into granted blocks: begin
// and commit of a batch, without a copy.

namespace kvferry::bench {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint32_t kBatch = 64;
// A publication's limit is 65,536 blocks; one of these ends well below it.
constexpr uint32_t kBatchesPerPublication = 512;
constexpr uint64_t kKeySeed = 31;
// How long the publisher computes between two batches in the slept row: long
// enough for the daemon to be asleep.
constexpr absl::Duration kThink = absl::Microseconds(300);

struct Samples {
  std::vector<double> begin_ns;    // a block
  std::vector<double> commit_ns;   // a block
  std::vector<double> both_ns;     // a block
  std::vector<double> visible_ns;  // a batch, from its begin on
};

absl::Status MeasureBatches(Client& client, uint32_t batches, bool think,
                            uint64_t* next_key, Samples* samples) {
  std::vector<BlockKey> keys(kBatch);
  uint32_t left = batches;
  while (left > 0) {
    KVFERRY_ASSIGN_OR_RETURN(Publication publication, client.OpenPublication());
    const uint32_t now = std::min(left, kBatchesPerPublication);
    left -= now;
    BlockKey parent;
    for (uint32_t i = 0; i < now; ++i) {
      for (BlockKey& key : keys) key = KeyAt(kKeySeed, (*next_key)++);
      if (think) absl::SleepFor(kThink);
      const uint64_t start_ns = NowNs();
      KVFERRY_ASSIGN_OR_RETURN(const uint32_t first,
                               publication.Begin(0, parent, keys));
      const uint64_t begun_ns = NowNs();
      KVFERRY_RETURN_IF_ERROR(publication.Commit(first, kBatch));
      const uint64_t committed_ns = NowNs();
      // Everything of the batch is committed already: this only waits.
      KVFERRY_RETURN_IF_ERROR(publication.CommitAndWait(first, kBatch));
      const uint64_t visible_ns = NowNs();
      for (uint32_t j = 0; j < kBatch; ++j) {
        if (publication.outcome(first + j) != BlockOutcome::kCommitted) {
          return absl::InternalError(
              absl::StrCat("a block that was begun and committed has outcome ",
                           static_cast<int>(publication.outcome(first + j))));
        }
      }
      const auto begin = static_cast<double>(begun_ns - start_ns);
      const auto commit = static_cast<double>(committed_ns - begun_ns);
      samples->begin_ns.push_back(begin / kBatch);
      samples->commit_ns.push_back(commit / kBatch);
      samples->both_ns.push_back((begin + commit) / kBatch);
      samples->visible_ns.push_back(static_cast<double>(visible_ns - start_ns));
      parent = keys.back();
    }
    KVFERRY_RETURN_IF_ERROR(publication.Close());
  }
  return absl::OkStatus();
}

// `daemon`: "polling", "slept" or "default"; what it means for the daemon is
// in `arguments`.
absl::Status Measure(const BenchOptions& options, const char* daemon,
                     std::vector<std::string> arguments, bool think,
                     RowSink* sink) {
  StageOptions stage_options;
  stage_options.page_bytes = kPageBytes;
  stage_options.block_count =
      ByScale<uint64_t>(options, 16'384, 65'536, 262'144);
  stage_options.daemon_arguments = std::move(arguments);
  stage_options.daemon_cpu = options.cpu_other;
  KVFERRY_ASSIGN_OR_RETURN(Stage stage, SetStage(options, stage_options));
  KVFERRY_RETURN_IF_ERROR(PinThread(options.cpu_main));

  // Until the pool is full once: from then on every begin evicts.
  Samples samples;
  uint64_t next_key = 0;
  const auto fill =
      static_cast<uint32_t>(stage_options.block_count / kBatch + 1);
  KVFERRY_RETURN_IF_ERROR(
      MeasureBatches(*stage.client, fill, false, &next_key, &samples));
  samples = Samples();
  const auto batches = ByScale<uint32_t>(options, 100, 1000, 5000);
  KVFERRY_RETURN_IF_ERROR(
      MeasureBatches(*stage.client, batches, think, &next_key, &samples));

  sink->Add(
      Row("publish-in-place")
          .Param("batch", kBatch)
          .Param("daemon", std::string(daemon))
          .Latency(Median(samples.both_ns), Quantile(samples.both_ns, 0.99))
          .Figure("begin_p50_ns", Median(samples.begin_ns))
          .Figure("commit_p50_ns", Median(samples.commit_ns))
          .Figure("batch_visible_p50_ns", Median(samples.visible_ns))
          .Figure("averaged_over", kBatch)
          .Figure("page_bytes", kPageBytes)
          .Figure("pinning", PinningText(options)));
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchPublishInPlace(const BenchOptions& options, RowSink* sink) {
  if (!options.socket.empty()) {
    return Measure(options, "running", {}, false, sink);
  }
  KVFERRY_RETURN_IF_ERROR(
      Measure(options, "polling", {"--spin-us", "max"}, false, sink));
  return Measure(options, "slept", {}, true, sink);
}

}  // namespace kvferry::bench
