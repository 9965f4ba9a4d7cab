#include <algorithm>

#include "gpu/device.h"

namespace kvferry::gpu {
namespace {

const Capability* Find(const DeviceReport& report, absl::string_view name) {
  const auto found = std::find_if(
      report.capabilities.begin(), report.capabilities.end(),
      [&](const Capability& capability) { return capability.name == name; });
  return found == report.capabilities.end() ? nullptr : &*found;
}

}  // namespace

bool DeviceReport::Has(absl::string_view capability) const {
  const Capability* const found = Find(*this, capability);
  return found != nullptr && found->available;
}

std::string DeviceReport::ReasonAgainst(absl::string_view capability) const {
  const Capability* const found = Find(*this, capability);
  if (found == nullptr) return "unknown";
  return found->available ? std::string() : found->reason;
}

}  // namespace kvferry::gpu
