#include "gpu/device_name.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "protocol/gpu_name.h"

namespace kvferry::gpu {
namespace {

absl::Status Malformed(absl::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat("gpu: device \"", name, "\"; need ",
                   protocol::kGpuNameSyntax, ", or an ordinal"));
}

// Digits only: SimpleAtoi takes blanks and a sign as well.
bool ParseOrdinal(absl::string_view digits, int* ordinal) {
  return std::all_of(digits.begin(), digits.end(),
                     [](unsigned char c) { return absl::ascii_isdigit(c); }) &&
         absl::SimpleAtoi(digits, ordinal);
}

}  // namespace

Uuid EmulatedUuid(uint32_t number) { return protocol::EmulatedGpuUuid(number); }

std::string UuidToString(DeviceKind kind, const Uuid& uuid) {
  protocol::GpuName name = protocol::GpuNameOf(uuid);
  name.emulated = kind == DeviceKind::kEmulated;
  return protocol::FormatGpuName(name);
}

absl::StatusOr<Uuid> UuidFromString(absl::string_view name) {
  const absl::StatusOr<protocol::GpuName> parsed = protocol::ParseGpuName(name);
  if (!parsed.ok()) return Malformed(name);
  return parsed->uuid;
}

absl::StatusOr<DeviceName> ParseDeviceName(absl::string_view name) {
  DeviceName result;
  if (name.empty()) return result;
  if (ParseOrdinal(name, &result.ordinal)) {
    result.form = DeviceName::Form::kOrdinal;
    return result;
  }
  const absl::StatusOr<protocol::GpuName> parsed = protocol::ParseGpuName(name);
  if (!parsed.ok()) return Malformed(name);
  result.form =
      parsed->emulated ? DeviceName::Form::kEmulated : DeviceName::Form::kUuid;
  result.number = parsed->number;
  result.uuid = parsed->uuid;
  return result;
}

}  // namespace kvferry::gpu
