#ifndef KVFERRY_TOOLS_SUPPORT_COMMAND_LINE_H_
#define KVFERRY_TOOLS_SUPPORT_COMMAND_LINE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "tools/support/exit_code.h"

namespace kvferry::tools {

// Options that take a size or a time span with its unit; a value that is
// neither is an error of the command line. The target keeps its value, the
// default, when the option is not given.
CLI::Option* AddBytesOption(CLI::App& app, const std::string& names,
                            uint64_t* target, const std::string& description);
CLI::Option* AddDurationOption(CLI::App& app, const std::string& names,
                               absl::Duration* target,
                               const std::string& description);

// Parses; when the program is to end at once (help asked for, or a wrong
// command line, which is explained on standard error), says how.
std::optional<ExitCode> ParseCommandLine(CLI::App& app, int argc, char** argv);

}  // namespace kvferry::tools

#endif  // KVFERRY_TOOLS_SUPPORT_COMMAND_LINE_H_
