#ifndef KVFERRY_DAEMON_CONFIG_CONFIG_FIELDS_H_
#define KVFERRY_DAEMON_CONFIG_CONFIG_FIELDS_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "daemon/config/config.h"

namespace kvferry::config {

// Which TOML values a field takes. Flags give text.
enum FieldForm : uint8_t {
  kText = 1,
  kInteger = 2,
  kBoolean = 4,
  kList = 8,  // of strings and integers
};

// What setters need to know of the machine.
struct Machine {
  uint64_t memory_bytes = 0;
};

// One key of the configuration: how it is written, what it does, how it is
// read. The whole reader, the flags and --help-config follow this table.
struct Field {
  const char* section;
  const char* key;
  const char* flag;  // nullptr: the file only
  uint8_t forms;     // of FieldForm
  const char* default_text;
  std::string accepted;
  const char* effect;
  // Reads the value into the configuration; in [[namespace]] into its last
  // entry. Lists come joined by commas.
  // Errors  kInvalidArgument  what is wrong with the value, without naming it
  absl::Status (*set)(absl::string_view text, const Machine& machine,
                      Config* config);
};

std::span<const Field> ConfigFields();

// Null when the section has no such key.
const Field* FindField(absl::string_view section, absl::string_view key);

inline constexpr char kNamespaceSection[] = "namespace";

// The table as people read it: `kvferryd --help-config`.
std::string DescribeFields();

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_CONFIG_FIELDS_H_
