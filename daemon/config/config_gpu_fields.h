#ifndef KVFERRY_DAEMON_CONFIG_CONFIG_GPU_FIELDS_H_
#define KVFERRY_DAEMON_CONFIG_CONFIG_GPU_FIELDS_H_

#include <vector>

#include "absl/status/status.h"
#include "daemon/config/config_fields.h"

namespace kvferry::config {

// The part of the table that is section [gpu].
std::vector<Field> GpuFields();

// What no field can tell by itself.
// Errors  kInvalidArgument  the watermarks are in the wrong order, the quota is
//                           over the pool; both values are named
absl::Status CheckGpu(const Config& config);

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_CONFIG_GPU_FIELDS_H_
