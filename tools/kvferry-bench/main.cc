#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/check.h"
#include "tools/kvferry-bench/floors.h"
#include "tools/kvferry-bench/gpu_measures.h"
#include "tools/kvferry-bench/gpu_peer.h"
#include "tools/kvferry-bench/options.h"
#include "tools/kvferry-bench/peer.h"
#include "tools/kvferry-bench/row.h"
#include "tools/support/command_line.h"
#include "tools/support/exit_code.h"

namespace kvferry::bench {
namespace {

struct CommandLine {
  std::string name;
  bool json = false;
  bool quick = false;
  bool smoke = false;
  std::string check_file;
  std::vector<int> pin_cpus;
  bool no_pin = false;
  bool calibrate = false;
  BenchOptions options;
};

std::string KnownNames() {
  std::string names;
  for (const Bench& bench : AllBenches()) {
    absl::StrAppend(&names, std::string(bench.name), ", ");
  }
  return names + "all";
}

std::vector<Bench> ChosenBenches(const std::string& name) {
  std::vector<Bench> chosen;
  for (const Bench& bench : AllBenches()) {
    if (name == "all" || name == bench.name) chosen.push_back(bench);
  }
  return chosen;
}

// Declares the options; what they mean is in README.md.
void Declare(CLI::App* app, CommandLine* line) {
  app->add_option("NAME", line->name, "What to measure: " + KnownNames())
      ->required()
      ->check([](const std::string& name) {
        return ChosenBenches(name).empty()
                   ? "'" + name + "' is none of " + KnownNames()
                   : std::string();
      });
  app->add_flag("--json", line->json,
                "One JSON object a line in place of a table");
  app->add_flag("--quick", line->quick, "Less memory and fewer rounds");
  auto* const smoke = app->add_flag(
      "--smoke", line->smoke,
      "The smallest sizes; checks that every row is there, not how fast");
  app->add_option("--check", line->check_file,
                  "Compare with the floors of FILE and name what falls short")
      ->type_name("FILE")
      ->excludes(smoke);
  auto* const no_pin = app->add_flag("--no-pin", line->no_pin,
                                     "Leave the processors to the scheduler");
  app->add_option("--pin-cpus", line->pin_cpus,
                  "A,B: the measuring thread on processor A, the daemon and "
                  "helper processes on B; the first two unless told")
      ->excludes(no_pin)
      ->delimiter(',')
      ->expected(2)
      ->check(CLI::NonNegativeNumber);
  app->add_option("--daemon", line->options.daemon_binary,
                  "The kvferryd to start, in place of the one of this build")
      ->type_name("PATH");
  app->add_option("--socket", line->options.socket,
                  "Measure the daemon at this socket; start none")
      ->type_name("PATH");
  tools::AddBytesOption(*app, "--pool", &line->options.pool_bytes,
                        "The pool that `memory` populates (default 8GiB, 1GiB "
                        "with --quick), and that of `handoff` (default what "
                        "its prompts take, less where memory is short)");
  app->add_option("--churn", line->options.churn_blocks_per_s,
                  "Blocks a second that another process publishes during "
                  "`match`")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app->add_option("--device", line->options.gpu_device,
                  "What `gpu` measures: GPU-..., an ordinal, emulated:N; the "
                  "first CUDA device unless told, or else the emulated one")
      ->type_name("DEVICE");
  app->add_flag("--calibrate", line->calibrate,
                "With `gpu`: a table of kernels beside copies for each length "
                "of a run, in place of the benchmark");
}

absl::Status Run(const CommandLine& line, RowSink* sink) {
  if (line.calibrate) {
    if (line.name != "gpu") {
      return absl::InvalidArgumentError("--calibrate goes with `gpu` alone");
    }
    return CalibrateGpu(line.options);
  }
  const std::vector<Bench> benches = ChosenBenches(line.name);
  if (line.smoke) {
    Floors floors;
    KVFERRY_ASSIGN_OR_RETURN(floors, ReadFloors(KVFERRY_BENCH_FLOORS));
    return CheckFunction(benches, line.options, floors, sink);
  }
  if (!line.check_file.empty()) {
    KVFERRY_ASSIGN_OR_RETURN(const Floors floors, ReadFloors(line.check_file));
    return CheckFloors(benches, line.options, floors, sink);
  }
  return RunBenches(benches, line.options, sink);
}

int Main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], kGpuPeerFlag) == 0) {
    const absl::Status status = BeGpuPeer();
    if (status.ok()) return 0;
    std::fprintf(stderr, "kvferry-bench: the other process: %s\n",
                 status.ToString().c_str());
    return 1;
  }
  if (argc == 3 && std::strcmp(argv[1], "--peer-board") == 0) {
    const std::string_view number = argv[2];
    int fd = -1;
    std::from_chars(number.data(), number.data() + number.size(), fd);
    const absl::Status status = RunPeer(fd);
    if (status.ok()) return 0;
    std::fprintf(stderr, "kvferry-bench: the other process: %s\n",
                 status.ToString().c_str());
    return 1;
  }

  CLI::App app("Measures KVFerry beside the limits of the machine.",
               "kvferry-bench");
  CommandLine line;
  Declare(&app, &line);
  if (const std::optional<tools::ExitCode> exit =
          tools::ParseCommandLine(app, argc, argv)) {
    return static_cast<int>(*exit);
  }
  line.options.scale = line.smoke   ? Scale::kSmoke
                       : line.quick ? Scale::kQuick
                                    : Scale::kFull;
  if (line.pin_cpus.size() == 2) {
    line.options.cpu_main = line.pin_cpus[0];
    line.options.cpu_other = line.pin_cpus[1];
  } else if (const std::optional<std::pair<int, int>> two = TwoProcessors();
             two && !line.no_pin) {
    line.options.cpu_main = two->first;
    line.options.cpu_other = two->second;
  }

  RowSink sink(line.json ? RowSink::Form::kJson : RowSink::Form::kTable);
  const absl::Status status = Run(line, &sink);
  if (status.ok()) return 0;
  std::fprintf(stderr, "kvferry-bench: %s\n",
               std::string(status.message()).c_str());
  return static_cast<int>(tools::ExitCode::kFailed);
}

}  // namespace

const std::vector<Bench>& AllBenches() {
  static const auto* const benches = new std::vector<Bench>{
      {"match", BenchMatch},
      {"hash", BenchHash},
      {"publish", BenchPublish},
      {"pull", BenchPull},
      {"publish-in-place", BenchPublishInPlace},
      {"wake", BenchWake},
      {"handoff", BenchHandoff},
      {"memory", BenchMemory},
      {"redis", BenchRedis},
      {"gpu", BenchGpu},
  };
  return *benches;
}

}  // namespace kvferry::bench

int main(int argc, char** argv) { return kvferry::bench::Main(argc, argv); }
