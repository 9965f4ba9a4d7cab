#ifndef KVFERRY_DAEMON_CONFIG_FIELD_SETTERS_H_
#define KVFERRY_DAEMON_CONFIG_FIELD_SETTERS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "daemon/config/config_fields.h"

// What the setters of fields have in common. Errors of all of them are
// kInvalidArgument and say what is wrong with the value, without naming it.
namespace kvferry::config {

template <typename Value>
struct Choice {
  const char* name;
  Value value;
};

template <typename Value, size_t n>
absl::Status SetChoice(absl::string_view text,
                       const Choice<Value> (&choices)[n], Value* value) {
  for (const Choice<Value>& choice : choices) {
    if (text == choice.name) {
      *value = choice.value;
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError("not one of the accepted values");
}

absl::Status SetPath(absl::string_view text, std::string* path);

absl::Status SetSize(absl::string_view text, const Machine& machine,
                     uint64_t low, uint64_t high, uint64_t* bytes);

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_FIELD_SETTERS_H_
