#include "tools/support/units.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace kvferry::tools {
namespace {

// Three significant digits, without zeros behind the point.
std::string ThreeDigits(double value) {
  std::string text = value < 10    ? fmt::format("{:.2f}", value)
                     : value < 100 ? fmt::format("{:.1f}", value)
                                   : fmt::format("{:.0f}", value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

absl::Status BadBytes(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text,
                   "\" is not a size: give whole bytes, or a number with KiB, "
                   "MiB, GiB or TiB, below 8 EiB"));
}

}  // namespace

std::string BytesText(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits = {
      "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.6 KiB would be printed as 1024 KiB.
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrCat(ThreeDigits(value), " ", kUnits[unit]);
}

std::string DurationText(absl::Duration duration) {
  const double ns = absl::ToDoubleNanoseconds(duration);
  if (ns < 0) return "-" + DurationText(-duration);
  if (ns < 999.5) return absl::StrCat(ThreeDigits(ns), " ns");
  if (ns < 999.5e3) return absl::StrCat(ThreeDigits(ns / 1e3), " us");
  if (ns < 999.5e6) return absl::StrCat(ThreeDigits(ns / 1e6), " ms");
  if (ns < 99.5e9) return absl::StrCat(ThreeDigits(ns / 1e9), " s");
  const int64_t s = absl::ToInt64Seconds(duration + absl::Milliseconds(500));
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
  return fmt::format("{} d {:02} h", s / 86400, s / 3600 % 24);
}

std::string CountText(uint64_t count) {
  std::string text = absl::StrCat(count);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<size_t>(at), 1, ',');
  }
  return text;
}

std::string PercentText(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  return fmt::format(
      "{:.1f} %", 100 * static_cast<double>(part) / static_cast<double>(whole));
}

absl::StatusOr<uint64_t> ParseBytes(absl::string_view text) {
  absl::string_view number = absl::StripAsciiWhitespace(text);
  uint64_t factor = 1;
  absl::ConsumeSuffix(&number, "iB");
  const bool binary_suffix =
      number.size() < absl::StripAsciiWhitespace(text).size();
  if (!number.empty() && !absl::ascii_isdigit(number.back())) {
    static constexpr absl::string_view kLetters = "BKMGT";
    const size_t power = kLetters.find(absl::ascii_toupper(number.back()));
    if (power == absl::string_view::npos || (power == 0 && binary_suffix)) {
      return BadBytes(text);
    }
    factor = uint64_t{1} << (10 * power);
    number.remove_suffix(1);
  } else if (binary_suffix) {
    return BadBytes(text);
  }
  number = absl::StripTrailingAsciiWhitespace(number);
  // SimpleAtod also takes "inf", "nan", signs and exponents.
  for (const char c : number) {
    if (!absl::ascii_isdigit(c) && c != '.') return BadBytes(text);
  }
  double value = 0;
  if (!absl::SimpleAtod(number, &value)) return BadBytes(text);
  const double bytes = value * static_cast<double>(factor);
  if (bytes >= 0x1p63 || bytes != std::floor(bytes)) return BadBytes(text);
  // A whole number of bytes keeps all its digits.
  if (uint64_t whole = 0; absl::SimpleAtoi(number, &whole)) {
    return whole * factor;
  }
  return static_cast<uint64_t>(bytes);
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds) && std::isfinite(seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    duration = absl::ZeroDuration();
  }
  if (duration <= absl::ZeroDuration() ||
      duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is not a time span above zero: give seconds, or a "
                     "number with ms, s, m or h"));
  }
  return duration;
}

}  // namespace kvferry::tools
