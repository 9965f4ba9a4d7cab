#ifndef KVFERRY_GPU_CUDA_OWN_EXPORTS_H_
#define KVFERRY_GPU_CUDA_OWN_EXPORTS_H_

#include <unistd.h>

#include <atomic>

#include "gpu/device.h"

namespace kvferry::gpu {

// Tells memory that this process exported from another's. The process id alone
// does not: an engine and the worker may have the same one, each in a PID
// namespace of its own, but an engine exports nothing.
class OwnExports {
 public:
  // Before the memory leaves the process.
  static void Note() { noted_.store(true, std::memory_order_release); }
  static bool Contain(const ExportedMemory& exported) {
    return noted_.load(std::memory_order_acquire) &&
           exported.owner_pid == ::getpid();
  }

 private:
  static inline constinit std::atomic<bool> noted_{false};
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_OWN_EXPORTS_H_
