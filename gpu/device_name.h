#ifndef KVFERRY_GPU_DEVICE_NAME_H_
#define KVFERRY_GPU_DEVICE_NAME_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// What a user calls a device by: see OpenDevice.
struct DeviceName {
  enum class Form : uint8_t { kCurrent, kOrdinal, kUuid, kEmulated };
  Form form = Form::kCurrent;
  int ordinal = -1;     // kOrdinal
  Uuid uuid{};          // kUuid, kEmulated
  uint32_t number = 0;  // kEmulated
};

// Errors  kInvalidArgument  none of the forms
absl::StatusOr<DeviceName> ParseDeviceName(absl::string_view name);

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_DEVICE_NAME_H_
