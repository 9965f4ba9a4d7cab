#ifndef KVFERRY_GPU_EMULATED_HOST_MEMORY_H_
#define KVFERRY_GPU_EMULATED_HOST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "base/fork_guard.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// Host memory that the emulated devices of this process may reach. They see it
// where the process does.
class EmulatedHostMemory : public HostRegistration {
 public:
  // Errors  kInvalidArgument  nothing, pages that are not mapped, or some that
  //                           are registered already
  static absl::StatusOr<std::unique_ptr<EmulatedHostMemory>> Register(
      std::byte* address, uint64_t bytes, bool read_only);
  ~EmulatedHostMemory() override;

 private:
  EmulatedHostMemory() = default;

  const ForkGuard fork_guard_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_HOST_MEMORY_H_
