#include "daemon/config/size.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace kvferry::config {
namespace {

struct Unit {
  const char* name;
  int shift;
};
// Longest first: "KiB" also ends in "B".
constexpr Unit kUnits[] = {
    {"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}};

// Limits of a control group (v2) and its ancestors, as this process sees them.
uint64_t ControlGroupLimit() {
  uint64_t limit = std::numeric_limits<uint64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    absl::string_view path = line;
    if (!absl::ConsumePrefix(&path, "0::")) continue;
    std::string folder(path);
    while (true) {
      std::ifstream file(absl::StrCat("/sys/fs/cgroup", folder, "/memory.max"));
      std::string text;
      uint64_t bytes = 0;
      if (file >> text && absl::SimpleAtoi(text, &bytes)) {
        limit = std::min(limit, bytes);
      }
      const size_t slash = folder.rfind('/');
      if (folder.empty() || slash == std::string::npos) break;
      folder.resize(slash);
    }
  }
  return limit;
}

}  // namespace

absl::StatusOr<uint64_t> ParseSize(absl::string_view text,
                                   uint64_t memory_bytes) {
  absl::string_view number = absl::StripAsciiWhitespace(text);
  double factor = 1;
  if (absl::ConsumeSuffix(&number, "%")) {
    factor = static_cast<double>(memory_bytes) / 100;
  } else {
    for (const Unit& unit : kUnits) {
      if (absl::ConsumeSuffix(&number, unit.name)) {
        factor = std::ldexp(1.0, unit.shift);
        break;
      }
    }
  }
  number = absl::StripAsciiWhitespace(number);
  // Digits and one point only: no sign, exponent, "inf" or "nan".
  if (number.empty() ||
      number.find_first_not_of("0123456789.") != number.npos) {
    return absl::InvalidArgumentError("not a size");
  }
  double value = 0;
  if (!absl::SimpleAtod(number, &value)) {
    return absl::InvalidArgumentError("not a size");
  }
  const double bytes = value * factor;
  if (bytes >= std::ldexp(1.0, 63)) {
    return absl::InvalidArgumentError("too large: 2^63 bytes or more");
  }
  return static_cast<uint64_t>(bytes);
}

std::string FormatSize(uint64_t bytes) {
  for (const Unit& unit : kUnits) {
    const uint64_t one = uint64_t{1} << unit.shift;
    if (bytes >= one && bytes % one == 0) {
      return absl::StrCat(bytes / one, unit.name);
    }
  }
  return absl::StrCat(bytes, "B");
}

uint64_t MemoryOfThisMachine() {
  struct sysinfo info {};
  if (::sysinfo(&info) != 0) return 0;
  return std::min(uint64_t{info.totalram} * info.mem_unit, ControlGroupLimit());
}

}  // namespace kvferry::config
