#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/peer.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/stage.h"
#include "tools/kvferry-bench/statistics.h"

// From the commit of one block to the moment in which another process, which
// polls Match on its key, has it pinned.

namespace kvferry::bench {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kBlockCount = 16'384;
constexpr uint64_t kKeySeed = 41;
constexpr uint64_t kRoundTimeoutNs = uint64_t{5} * 1'000'000'000;
// Between two rounds with the default settings: the daemon falls asleep.
constexpr absl::Duration kThink = absl::Microseconds(500);

struct Setting {
  const char* daemon;
  std::vector<std::string> arguments;
  bool think;
  int publisher_cpu;
  int daemon_cpu;
  int waiter_cpu;
};

// Rounds of commit, yield until seen; appends nanoseconds to `samples`.
absl::Status RunRounds(const Setting& setting, Client& client, const Peer& peer,
                       uint32_t rounds, std::vector<double>* samples) {
  KVFERRY_ASSIGN_OR_RETURN(Publication publication, client.OpenPublication());
  const PeerBoard& board = peer.board();
  for (uint32_t round = 0; round < rounds; ++round) {
    if (setting.think) absl::SleepFor(kThink);
    const BlockKey key = KeyAt(kKeySeed, round);
    KVFERRY_ASSIGN_OR_RETURN(const uint32_t position,
                             publication.Begin(0, {}, {&key, 1}));
    const std::span<std::byte> page = publication.page(position, 0);
    if (page.empty()) {
      return absl::InternalError(
          absl::StrCat("a begun block has outcome ",
                       static_cast<int>(publication.outcome(position))));
    }
    std::memset(page.data(), static_cast<int>(round), 64);
    const uint64_t start_ns = NowNs();
    KVFERRY_RETURN_IF_ERROR(publication.Commit(position, 1));
    while (board.done.load(std::memory_order_acquire) <= round) {
      ::sched_yield();
      if (NowNs() - start_ns > kRoundTimeoutNs) {
        return absl::DeadlineExceededError(absl::StrCat(
            "the waiter has not seen block ", round, " after five seconds"));
      }
    }
    samples->push_back(static_cast<double>(
        board.seen_ns.load(std::memory_order_relaxed) - start_ns));
  }
  return publication.Close();
}

absl::Status Measure(const BenchOptions& options, const Setting& setting,
                     RowSink* sink) {
  StageOptions stage_options;
  stage_options.page_bytes = kPageBytes;
  stage_options.block_count = kBlockCount;
  stage_options.daemon_arguments = setting.arguments;
  stage_options.daemon_cpu = setting.daemon_cpu;
  KVFERRY_ASSIGN_OR_RETURN(Stage stage, SetStage(options, stage_options));
  PeerOptions peer_options;
  peer_options.role = PeerRole::kWaiter;
  peer_options.socket = stage.socket;
  peer_options.namespace_name = stage.namespace_name;
  peer_options.key_seed = kKeySeed;
  peer_options.cpu = setting.waiter_cpu;
  KVFERRY_ASSIGN_OR_RETURN(Peer peer, Peer::Start(peer_options));
  KVFERRY_RETURN_IF_ERROR(PinThread(setting.publisher_cpu));

  const auto rounds = ByScale<uint32_t>(options, 50, 300, 2000);
  std::vector<double> samples;
  KVFERRY_ASSIGN_OR_RETURN(const absl::Duration daemon_before,
                           stage.DaemonCpuTime());
  const absl::Duration waiter_before = tools::ProcessCpuTime(peer.pid());
  const absl::Duration own_before = tools::ProcessCpuTime(::getpid());
  const uint64_t start_ns = NowNs();
  KVFERRY_RETURN_IF_ERROR(
      RunRounds(setting, *stage.client, peer, rounds, &samples));
  const double seconds = static_cast<double>(NowNs() - start_ns) * 1e-9;
  const absl::Duration own = tools::ProcessCpuTime(::getpid()) - own_before;
  const absl::Duration waiter =
      tools::ProcessCpuTime(peer.pid()) - waiter_before;
  KVFERRY_ASSIGN_OR_RETURN(const absl::Duration daemon_after,
                           stage.DaemonCpuTime());
  KVFERRY_RETURN_IF_ERROR(peer.Stop());

  sink->Add(Row("wake")
                .Param("daemon", std::string(setting.daemon))
                .Latency(Median(samples), Quantile(samples, 0.99))
                .Figure("rounds", rounds)
                .Figure("seconds", seconds)
                .Figure("daemon_cpu_s",
                        absl::ToDoubleSeconds(daemon_after - daemon_before))
                .Figure("waiter_cpu_s", absl::ToDoubleSeconds(waiter))
                .Figure("publisher_cpu_s", absl::ToDoubleSeconds(own))
                .Figure("publisher_cpu", setting.publisher_cpu)
                .Figure("daemon_cpu", setting.daemon_cpu)
                .Figure("waiter_cpu", setting.waiter_cpu));
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchWake(const BenchOptions& options, RowSink* sink) {
  // Two processors for three that never sleep: the daemon has one, the waiter
  // shares the other with the publisher, which yields it after its commit.
  const int shared = options.cpu_main >= 0 ? options.cpu_main : 0;
  const int other = options.cpu_other >= 0 ? options.cpu_other : 1;
  if (!options.socket.empty()) {
    return Measure(options, {"running", {}, false, shared, -1, shared}, sink);
  }
  KVFERRY_RETURN_IF_ERROR(Measure(
      options, {"polling", {"--spin-us", "max"}, false, shared, other, shared},
      sink));
  return Measure(options, {"default", {}, true, shared, other, shared}, sink);
}

}  // namespace kvferry::bench
