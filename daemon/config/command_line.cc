#include "daemon/config/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/socket_path.h"
#include "base/status.h"
#include "daemon/config/config_file.h"
#include "daemon/config/config_gpu_fields.h"
#include "daemon/config/default_directory.h"
#include "daemon/config/size.h"

namespace kvferry::config {
namespace {

constexpr uint64_t kDefaultPoolBytesMax = uint64_t{8} << 30;
// The smallest pool is one megabyte; a machine that does not tell its memory
// still gets something to work with.
constexpr uint64_t kDefaultPoolBytesMin = uint64_t{64} << 20;

void FillDefaults(const Machine& machine, Config* config) {
  if (config->socket.empty()) config->socket = SocketPathOfThisProcess();
  if (config->directory.empty()) {
    config->directory = DefaultDirectory(config->socket);
  }
  if (config->pool_size_bytes == 0) {
    config->pool_size_bytes = std::clamp(
        machine.memory_bytes / 4, kDefaultPoolBytesMin, kDefaultPoolBytesMax);
  }
}

absl::Status CheckWhole(const Config& config) {
  if (config.namespace_quota_bytes > config.pool_size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "template.quota = ", FormatSize(config.namespace_quota_bytes),
        ": more than memory.pool_size = ", FormatSize(config.pool_size_bytes),
        "; accepted: at most the pool"));
  }
  return CheckGpu(config);
}

}  // namespace

absl::StatusOr<CommandLine> ReadCommandLine(int argc, const char* const* argv,
                                            const Machine& machine) {
  CLI::App app(
      "The KVFerry daemon: keeps KV blocks of language models in "
      "shared memory.",
      "kvferryd");
  app.set_version_flag("--version", KVFERRY_VERSION);
  std::string file;
  app.add_option("--config", file, "Configuration file (TOML)")
      ->type_name("FILE");
  bool help_config = false;
  app.add_flag("--help-config", help_config,
               "Print every configuration key and end");
  std::map<const Field*, std::string> given;
  for (const Field& field : ConfigFields()) {
    if (field.flag == nullptr) continue;
    app.add_option(absl::StrCat("--", field.flag), given[&field], field.effect)
        ->type_name(absl::StrCat("VALUE: ", field.accepted));
  }

  CommandLine result;
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    result.print = app.help();
    return result;
  } catch (const CLI::CallForVersion& version) {
    result.print = absl::StrCat(version.what(), "\n");
    return result;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(error.what(), " (kvferryd --help lists the flags)"));
  }
  if (help_config) {
    result.print = DescribeFields();
    return result;
  }

  if (!file.empty()) {
    KVFERRY_RETURN_IF_ERROR(ReadConfigFile(file, machine, &result.config));
  }
  for (const auto& [field, text] : given) {
    const std::string flag = absl::StrCat("--", field->flag);
    if (app.count(flag) == 0) continue;
    const absl::Status set = field->set(text, machine, &result.config);
    if (!set.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, " = \"", text, "\": ", set.message(),
                       "; accepted: ", field->accepted));
    }
  }
  FillDefaults(machine, &result.config);
  KVFERRY_RETURN_IF_ERROR(CheckWhole(result.config));
  return result;
}

}  // namespace kvferry::config
