#include "protocol/gpu_name.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/hex.h"

namespace kvferry::protocol {
namespace {

constexpr char kCudaPrefix[] = "GPU-";
constexpr char kEmulatedPrefix[] = "emulated:";
// Where the text of a UUID has its hyphens, and how long it is.
constexpr size_t kHyphens[] = {8, 13, 18, 23};
constexpr size_t kUuidDigits = 36;
// The first bytes of an emulated device's, closing zero included; the number
// follows, highest byte first.
constexpr char kEmulatedBytes[] = "kvfemulated";
constexpr size_t kNumberAt = sizeof(kEmulatedBytes);
static_assert(kNumberAt + sizeof(uint32_t) == sizeof(GpuUuid));

absl::Status NoName() {
  return absl::InvalidArgumentError("not the name of a device");
}

absl::StatusOr<GpuName> ParseEmulated(absl::string_view digits) {
  GpuName name;
  const bool all_digits =
      std::all_of(digits.begin(), digits.end(),
                  [](unsigned char c) { return absl::ascii_isdigit(c); });
  if (!all_digits || !absl::SimpleAtoi(digits, &name.number)) return NoName();
  name.emulated = true;
  name.uuid = EmulatedGpuUuid(name.number);
  return name;
}

}  // namespace

absl::StatusOr<GpuName> ParseGpuName(absl::string_view text) {
  if (absl::ConsumePrefix(&text, kEmulatedPrefix)) return ParseEmulated(text);
  if (!absl::ConsumePrefix(&text, kCudaPrefix) || text.size() != kUuidDigits) {
    return NoName();
  }
  for (const size_t hyphen : kHyphens) {
    if (text[hyphen] != '-') return NoName();
  }
  const absl::StatusOr<std::vector<std::byte>> bytes =
      HexDecode(absl::StrReplaceAll(text, {{"-", ""}}));
  GpuName name;
  if (!bytes.ok() || bytes->size() != name.uuid.size()) return NoName();
  std::memcpy(name.uuid.data(), bytes->data(), name.uuid.size());
  return name;
}

std::string FormatGpuName(const GpuName& name) {
  if (name.emulated) return absl::StrCat(kEmulatedPrefix, name.number);
  std::string digits = HexEncode(std::as_bytes(std::span(name.uuid)));
  for (const size_t hyphen : kHyphens) digits.insert(hyphen, 1, '-');
  return absl::StrCat(kCudaPrefix, digits);
}

GpuUuid EmulatedGpuUuid(uint32_t number) {
  GpuUuid uuid{};
  std::memcpy(uuid.data(), kEmulatedBytes, kNumberAt);
  for (size_t i = 0; i < sizeof(number); ++i) {
    uuid[kNumberAt + i] = static_cast<uint8_t>(number >> (24 - 8 * i));
  }
  return uuid;
}

GpuName GpuNameOf(const GpuUuid& uuid) {
  GpuName name;
  name.uuid = uuid;
  if (std::memcmp(uuid.data(), kEmulatedBytes, kNumberAt) == 0) {
    name.emulated = true;
    for (size_t i = kNumberAt; i < uuid.size(); ++i) {
      name.number = name.number << 8 | uuid[i];
    }
  }
  return name;
}

}  // namespace kvferry::protocol
