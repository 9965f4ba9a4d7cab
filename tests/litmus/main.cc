// Plays the client's pin against the daemon's mark in two processes, with the
// fences of INV-PIN-1 and without them. README.md says what it shows.
//
// Exits 0 when every variant behaved as expected, 1 when one did not, 77 when
// there are not two CPUs.

#include <cstdint>
#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "tests/litmus/game.h"
#include "tests/litmus/variant.h"

namespace kvferry::litmus {
namespace {

constexpr int kExitSkipped = 77;
// A wrong variant has shown its teeth by then.
constexpr uint64_t kViolationsEnough = 100;
constexpr uint64_t kRoundsMax = 1'000'000'000'000;

bool AsExpected(const Variant& variant, const Tally& tally) {
  return variant.bites ? tally.violations > 0 : tally.violations == 0;
}

void Print(const Variant& variant, const Tally& tally, Cpus cpus, bool json) {
  const char* expected = variant.bites ? "some" : "none";
  const bool ok = AsExpected(variant, tally);
  const double round_ns =
      tally.seconds * 1e9 / static_cast<double>(tally.rounds);
  using ull = unsigned long long;
  if (json) {
    std::printf(
        "{\"litmus\": \"%s\", \"rounds\": %llu, \"violations\": %llu, "
        "\"expected\": \"%s\", \"ok\": %s, \"kept\": %llu, "
        "\"retired\": %llu, \"both_yielded\": %llu, \"round_ns\": %.1f, "
        "\"seconds\": %.2f, \"cpu_daemon\": %d, \"cpu_client\": %d}\n",
        variant.name, ull{tally.rounds}, ull{tally.violations}, expected,
        ok ? "true" : "false", ull{tally.kept}, ull{tally.retired},
        ull{tally.both_yielded}, round_ns, tally.seconds, cpus.daemon,
        cpus.client);
  } else {
    std::printf("%-16s %12llu %11llu %9s %12llu %12llu %12llu %9.1f %8.2f%s\n",
                variant.name, ull{tally.rounds}, ull{tally.violations},
                expected, ull{tally.kept}, ull{tally.retired},
                ull{tally.both_yielded}, round_ns, tally.seconds,
                ok ? "" : "  NOT AS EXPECTED");
  }
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  uint64_t rounds = 10'000'000;
  std::string only;
  bool json = false;
  CLI::App app("Litmus test of the fences between pin and retire");
  app.add_option("--rounds", rounds, "Rounds of each variant")
      ->check(CLI::Range(uint64_t{1}, kRoundsMax))
      ->capture_default_str();
  app.add_option("--variant", only, "Play this variant only");
  app.add_flag("--json", json, "One JSON object a line");
  CLI11_PARSE(app, argc, argv);

  const absl::StatusOr<Cpus> cpus = ChooseCpus();
  if (!cpus.ok()) {
    std::fprintf(stderr, "%s\n", cpus.status().ToString().c_str());
    return absl::IsUnavailable(cpus.status()) ? kExitSkipped : 1;
  }
  if (!json) {
    std::printf("%-16s %12s %11s %9s %12s %12s %12s %9s %8s\n", "variant",
                "rounds", "violations", "expected", "kept", "retired",
                "both_yielded", "round_ns", "seconds");
  }
  int played = 0;
  int wrong = 0;
  for (const Variant& variant : kVariants) {
    if (!only.empty() && only != variant.name) continue;
    // A right variant that shows one violation is wrong for good, too.
    const absl::StatusOr<Tally> tally =
        Play(variant, *cpus, rounds, kViolationsEnough);
    if (!tally.ok()) {
      std::fprintf(stderr, "%s\n", tally.status().ToString().c_str());
      return 1;
    }
    Print(variant, *tally, *cpus, json);
    ++played;
    wrong += !AsExpected(variant, *tally);
  }
  if (played == 0) {
    std::fprintf(stderr, "litmus: no variant \"%s\"; there are", only.c_str());
    for (const Variant& variant : kVariants) {
      std::fprintf(stderr, " %s", variant.name);
    }
    std::fprintf(stderr, "\n");
    return 1;
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvferry::litmus

int main(int argc, char** argv) { return kvferry::litmus::Main(argc, argv); }
