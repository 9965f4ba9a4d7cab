#ifndef KVFERRY_SDK_ADMIN_GPU_H_
#define KVFERRY_SDK_ADMIN_GPU_H_

#include "kvferry/admin.h"
#include "protocol/control_generated.h"

namespace kvferry::sdk {

// What the daemon says of a device, in the words of the public header. Takes
// any message: what it does not know, it names so.
GpuStatus GpuStatusFrom(const protocol::wire::GpuStatusT& status);

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_ADMIN_GPU_H_
