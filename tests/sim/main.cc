// kvferry_sim: runs the daemon's core under fake everything, by seeds.
//
//   kvferry_sim --seeds N [--seed FIRST] [--steps M]
//   kvferry_sim --expect-violation ...   succeeds when a violation is found

#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <string>

#include "daemon/core/mutant.h"
#include "tests/sim/world.h"

namespace {

// True when the run of `seed` violated something (or aborted on it).
bool RunSeed(uint64_t seed, uint32_t steps, bool quiet,
             kvferry::sim::Totals* totals) {
  kvferry::sim::World world(seed);
  const absl::Status status = world.Run(steps);
  *totals += world.totals();
  if (!status.ok() && !quiet) {
    fmt::print(stderr,
               "seed {}: {}\n  replay: kvferry_sim --seeds 1 "
               "--seed {} --steps {}\n",
               seed, std::string(status.message()), seed, steps);
  }
  return !status.ok();
}

// A mutant may also run into a check of the core's own: in a child.
bool RunSeedApart(uint64_t seed, uint32_t steps) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    kvferry::sim::Totals totals;
    ::_exit(RunSeed(seed, steps, true, &totals) ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seeds = 200;
  uint64_t first = 1;
  uint32_t steps = 3000;
  bool expect_violation = false;
  CLI::App app("Deterministic simulation of the daemon's core");
  app.add_option("--seeds", seeds, "how many seeds")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", first, "the first seed");
  app.add_option("--steps", steps, "steps a seed")->check(CLI::PositiveNumber);
  app.add_flag("--expect-violation", expect_violation,
               "succeed when a violation is found");
  CLI11_PARSE(app, argc, argv);

  kvferry::sim::Totals totals;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    const bool violated = expect_violation
                              ? RunSeedApart(seed, steps)
                              : RunSeed(seed, steps, false, &totals);
    if (!violated) continue;
    if (!expect_violation) return 1;
    fmt::print("mutant {} found by seed {}\n", static_cast<int>(KVFERRY_MUTANT),
               seed);
    return 0;
  }
  if (expect_violation) {
    fmt::print(stderr, "mutant {} survived {} seeds\n",
               static_cast<int>(KVFERRY_MUTANT), seeds);
    return 1;
  }
  fmt::print(
      "{} seeds of {} steps: {} blocks published, {} evicted, {} aborted, {} "
      "pages read under pins, {} tickets\n"
      "  streaming: {} blocks read while they were pending, {} of them by a "
      "layer, {} keys awaited, {} streams ended short\n"
      "  standby: {} blocks, {} adopted; {} stalls, {} blocks by the word of "
      "the dead, {} publications without a slot\n"
      "  tickets in flight: {}, hand-over data seen {} times\n"
      "  GPU memory: {} blocks read, {} of them pending, {} reads void; {} "
      "written behind, {} dropped, {} promoted, {} spilled, {} lost\n"
      "  {} devices died, {} pages were written for the dead; 0 violations\n",
      seeds, steps, totals.published, totals.evicted, totals.aborted,
      totals.pages_read, totals.leases, totals.followed, totals.layered,
      totals.awaited, totals.failed_streams, totals.standbys, totals.adopted,
      totals.stalls, totals.wills, totals.unfollowable, totals.leases_in_flight,
      totals.hand_overs, totals.gpu_reads, totals.gpu_follows,
      totals.gpu_misses, totals.written_behind, totals.dropped, totals.promoted,
      totals.spilled, totals.lost, totals.gpu_deaths, totals.haunted);
  const bool did_everything =
      totals.published > 0 && totals.evicted > 0 && totals.aborted > 0 &&
      totals.pages_read > 0 && totals.leases > 0 && totals.followed > 0 &&
      totals.layered > 0 && totals.awaited > 0 && totals.failed_streams > 0 &&
      totals.standbys > 0 && totals.adopted > 0 && totals.stalls > 0 &&
      totals.wills > 0 && totals.unfollowable > 0 &&
      totals.leases_in_flight > 0 && totals.hand_overs > 0 &&
      totals.gpu_reads > 0 && totals.gpu_follows > 0 && totals.gpu_misses > 0 &&
      totals.written_behind > 0 && totals.dropped > 0 && totals.promoted > 0 &&
      totals.spilled > 0 && totals.lost > 0 && totals.gpu_deaths > 0 &&
      totals.haunted > 0;
  if (!did_everything && seeds >= 50) {
    fmt::print(stderr, "something of it never happened\n");
    return 1;
  }
  return 0;
}
