#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/handoff_reader.h"
#include "tools/kvferry-bench/handoff_round.h"
#include "tools/kvferry-bench/handoff_stage.h"
#include "tools/kvferry-bench/statistics.h"

// A prompt passes from one process to another while it is written: how long
// after its last byte the other one has all of it.

namespace kvferry::bench {
namespace {

using Spin = HandoffStage::Spin;

constexpr std::array kSpins = {Spin::kDefault, Spin::kPolling};
// What the goal allows: half as much again as the copy that cannot be avoided,
// and what it takes to wake up.
constexpr double kLimitShare = 1.5;
constexpr double kLimitExtraNs = 20'000;
constexpr double kInPlaceLimitNs = 10'000;
// A chunk or layer is made in so many times the copy of it, so that the reader
// has caught up when the last one comes. Real engines are slower by far.
constexpr double kPaceFactor = 4;
constexpr double kIntervalMinNs = 100'000;
// Of the copy of the last chunk or layer, after each round.
constexpr int kLastCopies = 3;

struct Setting {
  uint32_t tokens;
  uint32_t chunk_tokens;
  bool by_layer;
};

const char* SpinName(Spin spin) {
  return spin == Spin::kDefault ? "default" : "polling";
}

HandoffRound NextRound(HandoffStage& stage, const Setting& setting,
                       uint64_t interval_ns) {
  HandoffRound round;
  round.number = stage.NextRound();
  round.block_count = setting.tokens / kHandoffBlockTokens;
  round.chunk_blocks = setting.chunk_tokens / kHandoffBlockTokens;
  round.by_layer = setting.by_layer;
  round.interval_ns = interval_ns;
  return round;
}

double MedianLastCopy(HandoffReader& reader) {
  std::vector<double> times;
  for (int i = 0; i < kLastCopies; ++i) times.push_back(reader.CopyLast());
  return Median(times);
}

// A round that does not count: it warms what the setting touches, and says what
// the copy of a chunk or layer takes, from which the pace follows.
absl::StatusOr<uint64_t> ChooseInterval(HandoffStage& stage,
                                        const Setting& setting) {
  double copy_ns = 0;
  for (const Spin spin : kSpins) {
    HandoffReader& reader = stage.reader(spin);
    KVFERRY_RETURN_IF_ERROR(
        reader.Pull(NextRound(stage, setting, /*interval_ns=*/0)).status());
    copy_ns = std::max(copy_ns, MedianLastCopy(reader));
    KVFERRY_RETURN_IF_ERROR(reader.End());
  }
  return static_cast<uint64_t>(std::max(copy_ns * kPaceFactor, kIntervalMinNs));
}

double PaceTokensPerSecond(const HandoffStage& stage, const Setting& setting,
                           uint64_t interval_ns) {
  const uint32_t units = setting.by_layer ? stage.layer_count() : 1;
  return std::min(setting.chunk_tokens, setting.tokens) * 1e9 /
         (static_cast<double>(interval_ns) * units);
}

Row MakeRow(const HandoffStage& stage, const char* reader,
            const Setting& setting, Spin spin) {
  Row row("handoff");
  row.Param("reader", std::string(reader))
      .Param("tokens", setting.tokens)
      .Param("granularity", std::string(setting.by_layer ? "layer" : "chunk"))
      .Param("chunk_tokens", setting.chunk_tokens)
      .Param("spin", std::string(SpinName(spin)))
      .Figure("scale", stage.scale())
      .Figure("token_bytes", stage.token_bytes());
  return row;
}

struct CopySamples {
  std::vector<double> visible_ns;
  std::vector<double> full_copy_ns;
  std::vector<double> last_copy_ns;
};

absl::Status PullRound(HandoffStage& stage, const Setting& setting, Spin spin,
                       uint64_t interval_ns, bool check, CopySamples* samples) {
  HandoffReader& reader = stage.reader(spin);
  const HandoffRound round = NextRound(stage, setting, interval_ns);
  KVFERRY_ASSIGN_OR_RETURN(const double visible_ns, reader.Pull(round));
  if (check) KVFERRY_RETURN_IF_ERROR(reader.Check());
  samples->visible_ns.push_back(visible_ns);
  samples->full_copy_ns.push_back(reader.CopyAll());
  samples->last_copy_ns.push_back(MedianLastCopy(reader));
  return reader.End();
}

absl::Status MeasureCopying(const BenchOptions& options, const Setting& setting,
                            HandoffStage& stage, RowSink* sink) {
  KVFERRY_ASSIGN_OR_RETURN(const uint64_t interval_ns,
                           ChooseInterval(stage, setting));
  // Fewer of the long ones, which take seconds.
  const auto rounds =
      ByScale<uint32_t>(options, 1, setting.tokens > 32'768 ? 3 : 7,
                        setting.tokens > 32'768 ? 5 : 15);
  std::array<CopySamples, kSpins.size()> samples;
  std::vector<double> forward_ns;
  for (uint32_t i = 0; i < rounds; ++i) {
    for (size_t s = 0; s < kSpins.size(); ++s) {
      // In turn the first; the last round of each is looked at byte by byte.
      const size_t turn = (s + i) % kSpins.size();
      KVFERRY_RETURN_IF_ERROR(PullRound(stage, setting, kSpins[turn],
                                        interval_ns, i + 1 == rounds,
                                        &samples[turn]));
    }
    HandoffRound round = NextRound(stage, setting, /*interval_ns=*/0);
    round.store_and_forward = true;
    HandoffReader& reader = stage.reader(Spin::kDefault);
    KVFERRY_ASSIGN_OR_RETURN(const double taken_ns,
                             reader.StoreAndForward(round));
    forward_ns.push_back(taken_ns);
    if (i + 1 == rounds) KVFERRY_RETURN_IF_ERROR(reader.Check());
  }

  for (size_t s = 0; s < kSpins.size(); ++s) {
    const double visible_ns = Median(samples[s].visible_ns);
    const double full_copy_ns = Median(samples[s].full_copy_ns);
    const double last_copy_ns = Median(samples[s].last_copy_ns);
    const double limit_ns = kLimitShare * last_copy_ns + kLimitExtraNs;
    Row row = MakeRow(stage, "copying", setting, kSpins[s]);
    row.Figure("pace_tokens_per_s",
               PaceTokensPerSecond(stage, setting, interval_ns))
        .Figure("visible_us", visible_ns / 1e3)
        .Figure("visible_max_us", Quantile(samples[s].visible_ns, 1) / 1e3)
        .Figure("last_copy_us", last_copy_ns / 1e3)
        .Figure("limit_us", limit_ns / 1e3)
        .Figure("limit", std::string("1.5 x last_copy + 20 us"))
        .Figure("ratio", limit_ns / visible_ns)
        .Figure("full_copy_us", full_copy_ns / 1e3)
        .Figure("visible_share", visible_ns / full_copy_ns)
        .Figure("store_and_forward_us", Median(forward_ns) / 1e3)
        .Figure("store_and_forward_ratio", Median(forward_ns) / visible_ns)
        .Figure("rounds", rounds)
        .Figure("pinning", PinningText(options));
    sink->Add(std::move(row));
  }
  return absl::OkStatus();
}

absl::Status MeasureInPlace(const BenchOptions& options, const Setting& setting,
                            HandoffStage& stage, RowSink* sink) {
  KVFERRY_ASSIGN_OR_RETURN(const uint64_t interval_ns,
                           ChooseInterval(stage, setting));
  const auto rounds = ByScale<uint32_t>(options, 2, 20, 101);
  std::array<std::vector<double>, kSpins.size()> samples;
  for (uint32_t i = 0; i < rounds; ++i) {
    for (size_t s = 0; s < kSpins.size(); ++s) {
      const size_t turn = (s + i) % kSpins.size();
      HandoffReader& reader = stage.reader(kSpins[turn]);
      KVFERRY_ASSIGN_OR_RETURN(
          const double visible_ns,
          reader.WaitInPlace(NextRound(stage, setting, interval_ns)));
      samples[turn].push_back(visible_ns);
      KVFERRY_RETURN_IF_ERROR(reader.End());
    }
  }
  for (size_t s = 0; s < kSpins.size(); ++s) {
    const double p50_ns = Median(samples[s]);
    Row row = MakeRow(stage, "in-place", setting, kSpins[s]);
    row.Latency(p50_ns, Quantile(samples[s], 0.99))
        .LatencyLimit(p50_ns, kInPlaceLimitNs, "10 us")
        .Figure("visible_us", p50_ns / 1e3)
        .Figure("pace_tokens_per_s",
                PaceTokensPerSecond(stage, setting, interval_ns))
        .Figure("rounds", rounds)
        .Figure("pinning", PinningText(options));
    sink->Add(std::move(row));
  }
  return absl::OkStatus();
}

// A waiter on a publication that does not move.
absl::Status MeasureParked(const BenchOptions& options, HandoffStage& stage,
                           RowSink* sink) {
  const auto seconds = ByScale<uint32_t>(options, 1, 10, 10);
  HandoffReader& reader = stage.reader(Spin::kDefault);
  HandoffRound round = NextRound(stage, {2048, 2048, true}, 0);
  round.hold = true;
  KVFERRY_RETURN_IF_ERROR(reader.Hold(round));
  KVFERRY_ASSIGN_OR_RETURN(const double daemon_before, stage.DaemonCpuNs());
  KVFERRY_ASSIGN_OR_RETURN(const double own_before, ProcessCpuNs(::getpid()));
  const uint64_t start_ns = NowNs();
  KVFERRY_RETURN_IF_ERROR(reader.WaitInVain(absl::Seconds(seconds)));
  const auto taken_ns = static_cast<double>(NowNs() - start_ns);
  KVFERRY_ASSIGN_OR_RETURN(const double own_after, ProcessCpuNs(::getpid()));
  KVFERRY_ASSIGN_OR_RETURN(const double daemon_after, stage.DaemonCpuNs());
  KVFERRY_RETURN_IF_ERROR(reader.End());

  const double waiter = (own_after - own_before) / taken_ns * 100;
  const double daemon = (daemon_after - daemon_before) / taken_ns * 100;
  sink->Add(Row("handoff")
                .Param("reader", std::string("parked"))
                .Figure("seconds", taken_ns / 1e9)
                .Figure("cpu_percent", waiter + daemon)
                .Figure("waiter_cpu_percent", waiter)
                .Figure("daemon_cpu_percent", daemon)
                .Figure("pinning", PinningText(options)));
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchHandoff(const BenchOptions& options, RowSink* sink) {
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<HandoffStage> stage,
                           HandoffStage::Set(options));
  KVFERRY_RETURN_IF_ERROR(MeasureParked(options, *stage, sink));
  for (const bool by_layer : {true, false}) {
    KVFERRY_RETURN_IF_ERROR(
        MeasureInPlace(options, {4096, 2048, by_layer}, *stage, sink));
  }
  for (const uint32_t tokens :
       {uint32_t{4096}, uint32_t{32'768}, kHandoffTokensMax}) {
    for (const uint32_t chunk_tokens :
         {uint32_t{2048}, kHandoffChunkTokensMax}) {
      for (const bool by_layer : {true, false}) {
        KVFERRY_RETURN_IF_ERROR(MeasureCopying(
            options, {tokens, chunk_tokens, by_layer}, *stage, sink));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
