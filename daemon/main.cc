#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "daemon/config/command_line.h"
#include "daemon/config/size.h"
#include "daemon/daemon.h"

// kvferryd: keeps KV blocks of language models in shared memory.
//
// Exit codes  0  ended by SIGTERM or SIGINT, or printed what was asked for
//             1  cannot serve (the reason is on standard error)
//             2  wrong flags or configuration
namespace kvferry {
namespace {

constexpr int kCannotServe = 1;
constexpr int kBadConfiguration = 2;

spdlog::level::level_enum LevelOf(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::kTrace:
      return spdlog::level::trace;
    case config::LogLevel::kDebug:
      return spdlog::level::debug;
    case config::LogLevel::kInfo:
      return spdlog::level::info;
    case config::LogLevel::kWarning:
      return spdlog::level::warn;
    case config::LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

int Main(int argc, char** argv) {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "kvferryd", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");

  const config::Machine machine{config::MemoryOfThisMachine()};
  const absl::StatusOr<config::CommandLine> command_line =
      config::ReadCommandLine(argc, argv, machine);
  if (!command_line.ok()) {
    std::fprintf(stderr, "kvferryd: %s\n",
                 std::string(command_line.status().message()).c_str());
    return kBadConfiguration;
  }
  if (!command_line->print.empty()) {
    std::fputs(command_line->print.c_str(), stdout);
    return 0;
  }
  spdlog::set_level(LevelOf(command_line->config.log_level));

  absl::StatusOr<std::unique_ptr<Daemon>> daemon =
      Daemon::Make(command_line->config);
  if (!daemon.ok()) {
    std::fprintf(stderr, "kvferryd: %s\n",
                 std::string(daemon.status().message()).c_str());
    return kCannotServe;
  }
  (*daemon)->Run();
  return 0;
}

}  // namespace
}  // namespace kvferry

int main(int argc, char** argv) { return kvferry::Main(argc, argv); }
