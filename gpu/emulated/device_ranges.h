#ifndef KVFERRY_GPU_EMULATED_DEVICE_RANGES_H_
#define KVFERRY_GPU_EMULATED_DEVICE_RANGES_H_

#include <cstddef>
#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace kvferry::gpu {

// What the emulated devices of this process can reach: their memory, their
// imports, and host memory that was registered. A GPU that touches anything
// else breaks for good; the emulated one refuses, and says what it was.
//
// Threads  any number at once
class DeviceRanges {
 public:
  enum class Kind : uint8_t { kMemory, kHost, kHostReadOnly };
  struct Range {
    uint64_t bytes = 0;
    Kind kind = Kind::kMemory;
    uint32_t device = 0;  // who has it, of kMemory
  };
  // Who wants to reach something, and how.
  struct Access {
    uint32_t device = 0;
    bool peers = true;  // memory of other devices, too
    bool write = false;
  };

  static DeviceRanges& OfThisProcess();

  // Errors  kInvalidArgument  it overlaps a range that is there
  absl::Status Add(const std::byte* address, const Range& range)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::byte* address) ABSL_LOCKS_EXCLUDED(mutex_);

  // Errors  kInvalidArgument  some of these bytes cannot be reached so
  absl::Status Check(const std::byte* address, uint64_t bytes,
                     const Access& access) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Ranges = std::map<uintptr_t, Range>;

  // The range with this byte; end() if there is none.
  Ranges::const_iterator FindLocked(uintptr_t address) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  Ranges ranges_ ABSL_GUARDED_BY(mutex_);  // by their first byte
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_DEVICE_RANGES_H_
