#include "daemon/config/field_setters.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/config/size.h"

namespace kvferry::config {

absl::Status SetPath(absl::string_view text, std::string* path) {
  if (text.empty() || text[0] != '/') {
    return absl::InvalidArgumentError("not an absolute path");
  }
  *path = std::string(text);
  return absl::OkStatus();
}

absl::Status SetSize(absl::string_view text, const Machine& machine,
                     uint64_t low, uint64_t high, uint64_t* bytes) {
  KVFERRY_ASSIGN_OR_RETURN(const uint64_t value,
                           ParseSize(text, machine.memory_bytes));
  if (value < low || value > high) {
    return absl::InvalidArgumentError(
        absl::StrCat(FormatSize(value), " is out of range, from ",
                     FormatSize(low), " to ", FormatSize(high)));
  }
  *bytes = value;
  return absl::OkStatus();
}

}  // namespace kvferry::config
