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
             kvferry::sim::World::Totals* totals) {
  kvferry::sim::World world(seed);
  const absl::Status status = world.Run(steps);
  totals->published += world.totals().published;
  totals->evicted += world.totals().evicted;
  totals->aborted += world.totals().aborted;
  totals->pages_read += world.totals().pages_read;
  totals->leases += world.totals().leases;
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
    kvferry::sim::World::Totals totals;
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

  kvferry::sim::World::Totals totals;
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
      "pages read under pins, {} tickets; 0 violations\n",
      seeds, steps, totals.published, totals.evicted, totals.aborted,
      totals.pages_read, totals.leases);
  const bool did_everything = totals.published > 0 && totals.evicted > 0 &&
                              totals.aborted > 0 && totals.pages_read > 0;
  if (!did_everything && seeds >= 20) {
    fmt::print(stderr, "something of it never happened\n");
    return 1;
  }
  return 0;
}
