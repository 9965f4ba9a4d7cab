// kvferry-replay runs the requests of a trace through client processes against
// a real kvferryd and checks every byte they read. README.md says how.

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/admin.h"
#include "protocol/limits.h"
#include "tools/kvferry-replay/coordinator.h"
#include "tools/kvferry-replay/interrupt.h"
#include "tools/kvferry-replay/options.h"
#include "tools/kvferry-replay/report.h"
#include "tools/kvferry-replay/trace_generator.h"
#include "tools/kvferry-replay/trace_reader.h"
#include "tools/kvferry-replay/worker.h"
#include "tools/support/command_line.h"
#include "tools/support/daemon_process.h"
#include "tools/support/exit_code.h"
#include "tools/support/units.h"

namespace kvferry::replay {
namespace {

using tools::ExitCode;

// How a shell reports a program that a signal ended.
constexpr int kSignalExitBase = 128;

// Blocks that the daemon evicted from the namespace since it was made.
// Errors  kNotFound  the namespace is not there yet; as AdminClient's
absl::StatusOr<uint64_t> EvictedBlocks(const ReplayOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(
      std::unique_ptr<AdminClient> admin,
      AdminClient::Connect(options.socket, options.timeout));
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<NamespaceStatus> namespaces,
                           admin->Namespaces());
  for (const NamespaceStatus& status : namespaces) {
    if (status.spec.name == options.namespace_name) {
      return status.evicted_blocks;
    }
  }
  return absl::NotFoundError(options.namespace_name);
}

// Replays against the daemon at `options.socket`.
absl::Status ReplayAt(const ReplayOptions& options,
                      const std::vector<TraceRequest>& requests,
                      const InterruptWatch& interrupt, ReplayReport* report) {
  Coordinator coordinator(options, requests, interrupt);
  KVFERRY_RETURN_IF_ERROR(coordinator.StartWorkers());
  const absl::StatusOr<uint64_t> before = EvictedBlocks(options);
  KVFERRY_RETURN_IF_ERROR(coordinator.Replay(report));
  const absl::StatusOr<uint64_t> after = EvictedBlocks(options);
  if (before.ok() && after.ok()) report->set_evicted_blocks(*after - *before);
  return coordinator.EndWorkers();
}

absl::Status ReplayWithOwnDaemon(const ReplayOptions& options,
                                 const std::vector<TraceRequest>& requests,
                                 const InterruptWatch& interrupt,
                                 ReplayReport* report) {
  tools::DaemonProcessOptions daemon_options;
  daemon_options.binary = options.daemon_path;
  daemon_options.pool_bytes = options.pool_bytes;
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<tools::DaemonProcess> daemon,
                           tools::DaemonProcess::Start(daemon_options));
  ReplayOptions at_socket = options;
  at_socket.socket = daemon->socket_path();
  KVFERRY_RETURN_IF_ERROR(ReplayAt(at_socket, requests, interrupt, report));
  return daemon->Stop();
}

int Replay(const ReplayOptions& options) {
  const auto fail = [](const absl::Status& status, ExitCode code) {
    std::fprintf(stderr, "kvferry-replay: %s\n",
                 std::string(status.message()).c_str());
    return static_cast<int>(code);
  };
  const absl::StatusOr<std::vector<TraceRequest>> requests = ReadTraceFile(
      options.trace_path, {options.block_tokens, options.requests_max});
  if (!requests.ok()) return fail(requests.status(), ExitCode::kUsage);
  const absl::StatusOr<InterruptWatch> interrupt = InterruptWatch::Install();
  if (!interrupt.ok()) return fail(interrupt.status(), ExitCode::kFailed);

  ReplayReport report;
  const absl::Status status =
      options.socket.empty()
          ? ReplayWithOwnDaemon(options, *requests, *interrupt, &report)
          : ReplayAt(options, *requests, *interrupt, &report);
  if (!status.ok() && InterruptWatch::signal_number() != 0) {
    fail(status, ExitCode::kFailed);
    return kSignalExitBase + InterruptWatch::signal_number();
  }
  if (!status.ok()) {
    return fail(status, absl::IsUnavailable(status) ? ExitCode::kUnreachable
                                                    : ExitCode::kFailed);
  }
  if (options.json) {
    std::printf("%s\n", tools::JsonText(report.ToJson(options)).c_str());
  } else {
    std::fputs(report.ToText(options).c_str(), stdout);
  }
  if (std::fflush(stdout) != 0) {
    std::perror("kvferry-replay: standard output");
    return static_cast<int>(ExitCode::kFailed);
  }
  if (report.mismatched_blocks() == 0) return static_cast<int>(ExitCode::kOk);
  return fail(absl::DataLossError(absl::StrCat(
                  report.mismatched_blocks(),
                  " pages held other bytes than were written for their keys")),
              ExitCode::kFailed);
}

// What no single option's check sees.
std::string CheckOptions(const ReplayOptions& options) {
  if (options.page_bytes < protocol::kBlockBytesMin ||
      options.page_bytes > protocol::kBlockBytesMax ||
      options.page_bytes % options.block_tokens != 0) {
    return absl::StrCat(
        "--page-size ", options.page_bytes, ": a page has from ",
        protocol::kBlockBytesMin, " to ", protocol::kBlockBytesMax,
        " bytes, as many for each of its ", options.block_tokens, " tokens");
  }
  return "";
}

int Main(int argc, char** argv) {
  ReplayOptions options;
  uint64_t generate_seed = 0;
  uint64_t generate_count = 1000;
  CLI::App app(
      "Replays a request trace in Mooncake's JSONL format through client "
      "processes against a kvferryd, and checks every byte they read.",
      "kvferry-replay");
  CLI::Option* trace =
      app.add_option("TRACE", options.trace_path,
                     "JSON lines {timestamp, input_length, output_length, "
                     "hash_ids}; - reads standard input");
  app.add_option("--socket", options.socket,
                 "Use the daemon there; without it a daemon is started for the "
                 "replay, on a directory of its own")
      ->type_name("PATH");
  app.add_option("--daemon", options.daemon_path,
                 "The kvferryd to start; unless given the one of this build or "
                 "installation")
      ->type_name("PATH");
  app.add_option("--namespace", options.namespace_name,
                 "The namespace to fill, kvferry-replay unless given")
      ->type_name("NAME");
  tools::AddBytesOption(app, "--pool-size", &options.pool_bytes,
                        "Memory of the daemon that is started, 1 GiB unless "
                        "given");
  tools::AddBytesOption(app, "--page-size", &options.page_bytes,
                        "Bytes of a block, 4 KiB unless given");
  app.add_option("--block-tokens", options.block_tokens,
                 "Tokens that one hash id stands for, 512 unless given")
      ->check(CLI::Range(uint32_t{1}, protocol::kBlockTokensMax));
  app.add_option("--workers", options.worker_count,
                 "Client processes, 2 unless given")
      ->check(CLI::Range(uint32_t{1}, kWorkersMax));
  app.add_option("--pace", options.pace,
                 "Keep the trace's times, divided by this; as fast as possible "
                 "unless given")
      ->type_name("FACTOR")
      ->check(CLI::PositiveNumber);
  app.add_option("--limit", options.requests_max,
                 "Only the trace's first N requests")
      ->type_name("N")
      ->check(CLI::Range(uint64_t{1}, UINT64_MAX));
  app.add_option("--seed", options.seed,
                 "Decides the tokens, and so keys and bytes; 1 unless given");
  tools::AddDurationOption(app, "--timeout", &options.timeout,
                           "Longest wait for the daemon, 30 s unless given");
  app.add_flag("--json", options.json, "Print the report as JSON on one line");
  CLI::Option* generate =
      app.add_option("--generate", generate_seed,
                     "Write a synthetic trace, made from this seed, to "
                     "standard output, and end")
          ->type_name("SEED")
          ->excludes(trace);
  app.add_option("--requests", generate_count,
                 "Requests to generate, 1,000 unless given")
      ->check(CLI::Range(uint64_t{1}, uint64_t{10000000}))
      ->needs(generate);
  // What the coordinator tells its workers.
  CLI::Option* worker =
      app.add_option("--worker-fd", options.worker_fd)->group("");
  app.add_option("--worker-number", options.worker_number)->group("");
  app.footer(
      "Exit codes: 0 every byte was right, 1 a mismatch or a failure, 2 wrong "
      "command line or trace, 3 no daemon answers.");
  if (const auto ended = tools::ParseCommandLine(app, argc, argv)) {
    return static_cast<int>(*ended);
  }

  if (generate->count() > 0) {
    WriteTrace(
        GenerateTrace(generate_seed, generate_count, options.block_tokens),
        std::cout);
    std::cout.flush();
    return static_cast<int>(std::cout ? ExitCode::kOk : ExitCode::kFailed);
  }
  std::string wrong = CheckOptions(options);
  if (wrong.empty() && trace->count() == 0 && worker->count() == 0) {
    wrong = "TRACE is missing; --help lists the options";
  }
  if (!wrong.empty()) {
    std::fprintf(stderr, "kvferry-replay: %s\n", wrong.c_str());
    return static_cast<int>(ExitCode::kUsage);
  }
  if (worker->count() > 0) return static_cast<int>(RunWorker(options));
  return Replay(options);
}

}  // namespace
}  // namespace kvferry::replay

int main(int argc, char** argv) { return kvferry::replay::Main(argc, argv); }
