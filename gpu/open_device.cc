#include "base/status.h"
#include "gpu/device.h"
#include "gpu/device_name.h"

namespace kvferry::gpu {

absl::StatusOr<std::unique_ptr<Device>> OpenDevice(
    absl::string_view name, const EmulatedOptions& emulated) {
  KVFERRY_ASSIGN_OR_RETURN(const DeviceName parsed, ParseDeviceName(name));
  switch (parsed.form) {
    case DeviceName::Form::kEmulated: {
      EmulatedOptions options = emulated;
      options.number = parsed.number;
      return OpenEmulated(options);
    }
    case DeviceName::Form::kUuid:
      return OpenCuda(parsed.uuid);
    case DeviceName::Form::kCurrent:
    case DeviceName::Form::kOrdinal:
      break;
  }
  return OpenCuda(parsed.ordinal);
}

}  // namespace kvferry::gpu
