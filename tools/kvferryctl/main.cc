// kvferryctl asks a node's daemon what it holds, and has it drop blocks.
// README.md documents every verb, the JSON it prints and the exit codes.

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/command_line.h"
#include "tools/support/exit_code.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

using tools::ExitCode;

// Whether the file system, not the daemon, keeps us from its socket: a daemon
// that serves its own user alone closes it to others.
bool SocketIsClosedToUs(const absl::Status& status,
                        const GlobalOptions& options) {
  return absl::IsUnavailable(status) &&
         ::access(options.socket.c_str(), W_OK) != 0 && errno == EACCES;
}

// What the operator may do about a failure, or nothing.
std::string Remedy(absl::StatusCode code, const GlobalOptions& options) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return absl::StrCat("no daemon answers at ", options.socket,
                          ": start kvferryd, or name its socket with --socket "
                          "or $KVFERRY_SOCKET");
    case absl::StatusCode::kDeadlineExceeded:
      return absl::StrCat("the daemon at ", options.socket,
                          " did not answer within ",
                          tools::DurationText(options.timeout),
                          ": see its log, or raise --timeout");
    case absl::StatusCode::kPermissionDenied:
      return "only root, the daemon's own user and, for match, those whom its "
             "configuration lets in are answered: run it as one of them";
    case absl::StatusCode::kNotFound:
      return "`kvferryctl namespaces` lists what there is";
    case absl::StatusCode::kAlreadyExists:
      return "`kvferryctl namespaces` shows it; choose another name";
    default:
      return "";
  }
}

ExitCode Report(const std::string& verb, const absl::Status& status,
                const GlobalOptions& options) {
  std::fprintf(stderr, "kvferryctl %s: %s\n", verb.c_str(),
               std::string(status.message()).c_str());
  if (IsUsageError(status)) return ExitCode::kUsage;
  const bool closed = SocketIsClosedToUs(status, options);
  const std::string remedy = Remedy(
      closed ? absl::StatusCode::kPermissionDenied : status.code(), options);
  if (!remedy.empty()) std::fprintf(stderr, "  %s\n", remedy.c_str());
  const bool unreachable =
      absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  return unreachable && !closed ? ExitCode::kUnreachable : ExitCode::kFailed;
}

ExitCode Main(int argc, char** argv) {
  GlobalOptions options;
  CLI::App app("Asks a node's kvferryd what it holds, and has it drop blocks.",
               "kvferryctl");
  app.require_subcommand(0, 1);  // none is told apart from a wrong one below
  app.fallthrough();             // global options may follow the verb
  app.add_option("--socket", options.socket,
                 "The daemon's socket; unless given $KVFERRY_SOCKET, or the "
                 "daemon's own default")
      ->type_name("PATH");
  tools::AddDurationOption(app, "--timeout", &options.timeout,
                           "How long to wait for the daemon, 5 s unless given");
  app.add_flag("--json", options.json, "Print JSON on one line");
  app.footer(
      "Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 no "
      "daemon answers.");

  std::vector<std::unique_ptr<Verb>> verbs;
  verbs.push_back(MakeStatusVerb(app));
  verbs.push_back(MakeNamespacesVerb(app));
  verbs.push_back(MakeSessionsVerb(app));
  verbs.push_back(MakeBlocksVerb(app));
  verbs.push_back(MakeMatchVerb(app));
  verbs.push_back(MakeEvictVerb(app));
  verbs.push_back(MakeClearVerb(app));
  verbs.push_back(MakeGpuVerb(app));
  if (const auto ended = tools::ParseCommandLine(app, argc, argv)) {
    return *ended;
  }

  if (app.get_subcommands().empty()) {
    std::fprintf(stderr, "kvferryctl: a verb is missing; --help lists them\n");
    return ExitCode::kUsage;
  }

  Context context(options);
  for (const auto& verb : verbs) {
    if (!verb->chosen()) continue;
    const absl::Status status = verb->Run(context);
    if (!status.ok()) return Report(verb->name(), status, context.options());
  }
  if (std::fflush(stdout) != 0) {
    std::perror("kvferryctl: standard output");
    return ExitCode::kFailed;
  }
  return ExitCode::kOk;
}

}  // namespace
}  // namespace kvferry::ctl

int main(int argc, char** argv) {
  return static_cast<int>(kvferry::ctl::Main(argc, argv));
}
