// Rounds of streaming against a real daemon: processes publish prompts in
// random chunks and layers and are killed, stopped, abort or end short at a
// random point, alone, with a standby, or as ranks; readers join at random,
// follow in every way there is, and check every byte that they accept. All the
// while somebody else uses the rest of the memory, so that a block that is
// given away too early is found out.
//
//   kvferry_stream_stress [--rounds N] [--seed S] [--lanes L]
//
// Succeeds when no accepted byte was wrong, no waiter was left behind, nothing
// that was committed was lost, and in the end all memory is back. A failed
// round prints its seed; `--rounds 1 --seed S` repeats it.

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "kvferry/admin.h"
#include "tests/stress/stream_driver.h"
#include "tests/stress/stream_filler.h"
#include "tests/stress/stream_publisher.h"
#include "tests/support/daemon_process.h"

namespace {

using kvferry::test::RoundPlan;
using kvferry::test::StreamDriver;
using kvferry::test::StreamLane;

// Instrumented processes run many times slower, on cores that other tests use
// at the same time; that a waiter is released within a second is shown by the
// release build.
#ifdef KVFERRY_SANITIZED
constexpr absl::Duration kReleaseLimit = absl::Seconds(10);
constexpr absl::Duration kPatience = absl::Seconds(60);
#else
constexpr absl::Duration kReleaseLimit = absl::Seconds(1);
constexpr absl::Duration kPatience = absl::Seconds(20);
#endif

StreamLane* MapLanes(int fd, uint32_t count) {
  void* const memory = ::mmap(nullptr, count * sizeof(StreamLane),
                              PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<StreamLane*>(memory);
}

int RunChild(const std::string& socket, const RoundPlan& plan, uint32_t which,
             StreamLane* lane) {
  const absl::Status status =
      which < plan.publishers.size()
          ? kvferry::test::RunPublisher(socket, plan, which, lane)
          : kvferry::test::RunVictim(socket, plan);
  if (status.ok()) return 0;
  fmt::print(stderr, "process {} of {}: {}\n", which, plan.ToString(),
             status.ToString());
  return 1;
}

// With every client gone, every block is free or ready. What a dead standby had
// written whole is kept for some seconds, in case that the first one fails.
bool NothingLeaks(const std::string& socket) {
  auto admin = kvferry::AdminClient::Connect(socket, absl::Seconds(5));
  if (!admin.ok()) return false;
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  for (;;) {
    auto namespaces = (*admin)->Namespaces();
    if (!namespaces.ok() || namespaces->size() != 1) return false;
    const kvferry::NamespaceStatus& status = (*namespaces)[0];
    const kvferry::GroupStatus& group = status.groups[0];
    if (status.sessions == 0 && group.granted == 0 && group.publishing == 0 &&
        group.quarantined == 0 && group.free + group.ready == group.present &&
        status.leases == 0) {
      fmt::print("{} blocks, {} free, {} ready, {} evicted, {} aborted\n",
                 group.present, group.free, group.ready, status.evicted_blocks,
                 status.aborted_blocks);
      return true;
    }
    if (absl::Now() > deadline) {
      fmt::print(stderr,
                 "{} sessions, {} granted, {} publishing, {} quarantined "
                 "blocks, {} tickets are left\n",
                 status.sessions, group.granted, group.publishing,
                 group.quarantined, status.leases);
      return false;
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t rounds = 500;
  uint64_t seed = 1;
  uint32_t lane_count = 2;
  int32_t child = -1;
  std::string socket;
  int lanes_fd = -1;
  uint32_t lane_index = 0;
  CLI::App app("Random rounds of streaming");
  app.add_option("--rounds", rounds, "rounds to run");
  app.add_option("--seed", seed, "of the first round; the next has the next");
  app.add_option("--lanes", lane_count, "rounds at the same time");
  // What the program tells the processes that it starts of itself.
  app.add_option("--child", child)->group("");
  app.add_option("--socket", socket)->group("");
  app.add_option("--lanes-fd", lanes_fd)->group("");
  app.add_option("--lane-index", lane_index)->group("");
  CLI11_PARSE(app, argc, argv);
  if (child >= 0) {
    StreamLane* const lanes = MapLanes(lanes_fd, lane_index + 1);
    if (lanes == nullptr) return 2;
    return RunChild(socket, RoundPlan::Make(seed), static_cast<uint32_t>(child),
                    &lanes[lane_index]);
  }
  if (const char* scale = std::getenv("KVFERRY_STRESS_SCALE")) {
    rounds = std::max<uint64_t>(
        1,
        static_cast<uint64_t>(static_cast<double>(rounds) * std::atof(scale)));
    fmt::print("scaled by {}: {} rounds\n", scale, rounds);
  }

  // Not close-on-exec: the children map it, too.
  lanes_fd = ::memfd_create("stream-lanes", 0);
  if (lanes_fd < 0 ||
      ::ftruncate(lanes_fd, lane_count * sizeof(StreamLane)) != 0) {
    fmt::print(stderr, "no memory to share\n");
    return 1;
  }
  StreamLane* const lanes = MapLanes(lanes_fd, lane_count);
  kvferry::test::DaemonProcess::Options options;
  options.pool_size = "32MiB";
  auto daemon = kvferry::test::DaemonProcess::Start(options);
  if (!daemon.ok()) {
    fmt::print(stderr, "{}\n", daemon.status().ToString());
    return 1;
  }

  const absl::Time start = absl::Now();
  std::atomic<uint64_t> next{0};
  std::atomic<uint64_t> failed{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> filler_blocks{0};
  std::vector<std::unique_ptr<StreamDriver>> drivers;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < lane_count; ++i) {
    StreamDriver::Options lane;
    lane.socket = (*daemon)->socket_path();
    lane.lanes_fd = lanes_fd;
    lane.lane_index = i;
    lane.lane = &lanes[i];
    lane.release_limit = kReleaseLimit;
    lane.patience = kPatience;
    drivers.push_back(std::make_unique<StreamDriver>(lane));
    threads.emplace_back([&, driver = drivers.back().get()] {
      absl::Status status = driver->Attach();
      for (uint64_t round = next.fetch_add(1);
           status.ok() && round < rounds && failed.load() < 10;
           round = next.fetch_add(1)) {
        const RoundPlan plan = RoundPlan::Make(seed + round);
        if (const absl::Status result = driver->RunRound(plan); !result.ok()) {
          failed.fetch_add(1);
          fmt::print(stderr, "FAILED {}\n  {}\n", plan.ToString(),
                     result.ToString());
        }
      }
      if (!status.ok()) {
        failed.fetch_add(1);
        fmt::print(stderr, "attach: {}\n", status.ToString());
      }
    });
  }
  std::thread filler([&] {
    // Slow enough that a round's own blocks are not the coldest ones.
    const absl::Status status = kvferry::test::RunFiller(
        (*daemon)->socket_path(), absl::Milliseconds(50), stop, &filler_blocks);
    if (!status.ok()) {
      failed.fetch_add(1);
      fmt::print(stderr, "{}\n", status.ToString());
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop.store(true);
  filler.join();

  uint64_t verified = filler_blocks.load();
  uint64_t streams = 0;
  uint64_t scribbled = 0;
  absl::Duration slowest;
  for (const auto& driver : drivers) {
    verified += driver->verified_blocks();
    streams += driver->streams();
    scribbled += driver->scribbled_blocks();
    slowest = std::max(slowest, driver->slowest_release());
  }
  drivers.clear();
  const bool clean = NothingLeaks((*daemon)->socket_path());
  const int code = (*daemon)->Stop();
  fmt::print(
      "{} rounds from seed {} in {:.1f} s, {} failed; {} streams, {} blocks "
      "verified, {} scribbled over after a stall, readers released within {}\n",
      rounds, seed, absl::ToDoubleSeconds(absl::Now() - start), failed.load(),
      streams, verified, scribbled, absl::FormatDuration(slowest));
  const bool passed = failed.load() == 0 && clean && code == 0;
  if (!passed) {
    fmt::print(stderr, "failed (daemon exit code {})\n{}\n", code,
               (*daemon)->log());
  }
  return passed ? 0 : 1;
}
