#ifndef KVFERRY_TOOLS_SUPPORT_JSON_H_
#define KVFERRY_TOOLS_SUPPORT_JSON_H_

#include <string>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace kvferry::tools {

// Keeps members in the order they were written.
using Json = nlohmann::ordered_json;

// One line, without its end. Bytes that are not UTF-8 become U+FFFD, so that
// a name from another process cannot make the output unreadable.
std::string JsonText(const Json& value);

// Whole milliseconds, the unit of every *_ms field.
inline int64_t JsonMs(absl::Duration duration) {
  return absl::ToInt64Milliseconds(duration);
}

}  // namespace kvferry::tools

#endif  // KVFERRY_TOOLS_SUPPORT_JSON_H_
