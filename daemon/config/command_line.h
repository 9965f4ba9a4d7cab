#ifndef KVFERRY_DAEMON_CONFIG_COMMAND_LINE_H_
#define KVFERRY_DAEMON_CONFIG_COMMAND_LINE_H_

#include <string>

#include "absl/status/statusor.h"
#include "daemon/config/config.h"
#include "daemon/config/config_fields.h"

namespace kvferry::config {

// What the command line asks for: to print something and end, or to run.
struct CommandLine {
  std::string print;  // empty: run
  Config config;
};

// Reads flags and the file they name, fills in the defaults that depend on the
// machine, checks the whole.
// Errors  kInvalidArgument  names the flag, or file, line and key; the value;
//                           what is accepted
absl::StatusOr<CommandLine> ReadCommandLine(int argc, const char* const* argv,
                                            const Machine& machine);

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_COMMAND_LINE_H_
