#ifndef KVFERRY_PROTOCOL_GPU_NAME_H_
#define KVFERRY_PROTOCOL_GPU_NAME_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry::protocol {

// A device's own, whatever its ordinal is in one process or another.
using GpuUuid = std::array<uint8_t, 16>;

inline constexpr char kGpuNameSyntax[] =
    "\"GPU-\" and the 8-4-4-4-12 hexadecimal digits that nvidia-smi -L "
    "prints, or \"emulated:N\"";

// A device as configurations name it.
struct GpuName {
  bool emulated = false;
  uint32_t number = 0;  // of an emulated one
  GpuUuid uuid{};

  friend bool operator==(const GpuName&, const GpuName&) = default;
};

// Ordinals are no names: what they mean depends on a process's environment.
// Errors  kInvalidArgument  neither form; without the text, which the caller
//                           names
absl::StatusOr<GpuName> ParseGpuName(absl::string_view text);

// The other way: "GPU-..." in lower case, "emulated:N".
std::string FormatGpuName(const GpuName& name);

// What stands for emulated device N where a UUID is wanted; no CUDA device has
// it (those are of RFC 4122, whose version this has not).
GpuUuid EmulatedGpuUuid(uint32_t number);

// The name of a UUID, of whichever kind it is.
GpuName GpuNameOf(const GpuUuid& uuid);

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_GPU_NAME_H_
