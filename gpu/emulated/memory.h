#ifndef KVFERRY_GPU_EMULATED_MEMORY_H_
#define KVFERRY_GPU_EMULATED_MEMORY_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "base/fork_guard.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "gpu/device.h"
#include "gpu/emulated/context.h"
#include "gpu/emulated/memory_file.h"

namespace kvferry::gpu {

// Memory of the emulated device: a mapping of a memfd or a file. One of three:
// made for others by descriptor or by handle, made for this process alone, or
// another's.
class EmulatedMemory : public DeviceMemory {
 public:
  // How others get at it.
  enum class Sharing : uint8_t { kNone, kDescriptor, kHandle };

  // Takes `bytes` of `total_bytes` of the context's memory. `directory` is for
  // kHandle.
  static absl::StatusOr<std::unique_ptr<EmulatedMemory>> Make(
      std::shared_ptr<EmulatedContext> context, uint64_t bytes,
      uint64_t total_bytes, Sharing sharing, const std::string& directory);
  static absl::StatusOr<std::unique_ptr<EmulatedMemory>> Import(
      std::shared_ptr<EmulatedContext> context, const ExportedMemory& exported);
  ~EmulatedMemory() override;

  absl::StatusOr<ExportedMemory> Export() const override;

 private:
  explicit EmulatedMemory(std::shared_ptr<EmulatedContext> context)
      : context_(std::move(context)) {}

  // Maps it and makes it the device's.
  absl::Status Map(int fd, uint64_t bytes);

  const std::shared_ptr<EmulatedContext> context_;
  const ForkGuard fork_guard_;
  uint64_t taken_bytes_ = 0;  // of the context's memory
  std::optional<UniqueFd> fd_;
  std::optional<MemoryFile> file_;
  Mapping mapping_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_MEMORY_H_
