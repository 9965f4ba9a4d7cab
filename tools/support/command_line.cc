#include "tools/support/command_line.h"

#include <cstdio>
#include <iostream>

#include "tools/support/units.h"

namespace kvferry::tools {
namespace {

template <typename T, typename Parse>
CLI::Option* AddParsed(CLI::App& app, const std::string& names, T* target,
                       const std::string& description, const char* type,
                       Parse parse) {
  return app
      .add_option_function<std::string>(
          names,
          [target, parse](const std::string& text) {
            auto value = parse(text);
            if (!value.ok()) {
              throw CLI::ValidationError(std::string(value.status().message()));
            }
            *target = *value;
          },
          description)
      ->type_name(type);
}

}  // namespace

CLI::Option* AddBytesOption(CLI::App& app, const std::string& names,
                            uint64_t* target, const std::string& description) {
  return AddParsed(app, names, target, description, "SIZE",
                   [](const std::string& text) { return ParseBytes(text); });
}

CLI::Option* AddDurationOption(CLI::App& app, const std::string& names,
                               absl::Duration* target,
                               const std::string& description) {
  return AddParsed(app, names, target, description, "TIME",
                   [](const std::string& text) { return ParseDuration(text); });
}

std::optional<ExitCode> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    // Prints the help to standard output, or the error to standard error.
    const int code = app.exit(error, std::cout, std::cerr);
    return code == 0 ? ExitCode::kOk : ExitCode::kUsage;
  }
}

}  // namespace kvferry::tools
