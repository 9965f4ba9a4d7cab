#include "base/hex.h"

#include "absl/strings/str_cat.h"

namespace kvferry {
namespace {

int DigitValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

}  // namespace

std::string HexEncode(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (std::byte byte : bytes) {
    out.push_back(kDigits[std::to_integer<int>(byte) >> 4]);
    out.push_back(kDigits[std::to_integer<int>(byte) & 15]);
  }
  return out;
}

absl::StatusOr<std::vector<std::byte>> HexDecode(absl::string_view digits) {
  if (digits.size() % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hex: ", digits.size(), " digits, need an even number"));
  }
  std::vector<std::byte> out;
  out.reserve(digits.size() / 2);
  for (size_t i = 0; i < digits.size(); i += 2) {
    const int high = DigitValue(digits[i]);
    const int low = DigitValue(digits[i + 1]);
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("hex: \"", digits.substr(i, 2), "\" at digit ", i,
                       " is not hexadecimal"));
    }
    out.push_back(static_cast<std::byte>(high << 4 | low));
  }
  return out;
}

}  // namespace kvferry
