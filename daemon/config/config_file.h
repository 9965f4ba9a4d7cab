#ifndef KVFERRY_DAEMON_CONFIG_CONFIG_FILE_H_
#define KVFERRY_DAEMON_CONFIG_CONFIG_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "daemon/config/config.h"
#include "daemon/config/config_fields.h"

namespace kvferry::config {

// Reads a TOML file over what `config` holds.
// Errors  kNotFound         the file cannot be opened
//         kInvalidArgument  "FILE:LINE: section.key = value: what is wrong;
//                           accepted: ..."; `config` may be partly read
absl::Status ReadConfigFile(const std::string& path, const Machine& machine,
                            Config* config);

// The same from text; `path` is what errors call it.
absl::Status ReadConfigText(const std::string& text, const std::string& path,
                            const Machine& machine, Config* config);

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_CONFIG_FILE_H_
