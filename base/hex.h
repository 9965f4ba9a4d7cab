#ifndef KVFERRY_BASE_HEX_H_
#define KVFERRY_BASE_HEX_H_

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry {

// Lower-case hexadecimal digits, two a byte, first byte first.
std::string HexEncode(std::span<const std::byte> bytes);

// Errors  kInvalidArgument  an odd number of digits, or one that is none
absl::StatusOr<std::vector<std::byte>> HexDecode(absl::string_view digits);

}  // namespace kvferry

#endif  // KVFERRY_BASE_HEX_H_
