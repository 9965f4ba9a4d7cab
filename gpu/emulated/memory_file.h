#ifndef KVFERRY_GPU_EMULATED_MEMORY_FILE_H_
#define KVFERRY_GPU_EMULATED_MEMORY_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace kvferry::gpu {

// Memory for others by descriptor: a memfd, sealed so that nobody who maps it
// can be cut short. It lives as long as anybody holds or maps it, as memory of
// CUDA's virtual memory management does.
absl::StatusOr<UniqueFd> MakeMemoryDescriptor(uint64_t bytes);

// Errors  kInvalidArgument  not what MakeMemoryDescriptor makes
absl::Status CheckMemoryDescriptor(int fd);

// Memory for others by handle: a file of mode 0600 whose path is in the handle.
// It is there as long as its owner lives, as what a CUDA IPC handle names is:
// the owner holds a lock on it, and a file without that lock is taken for gone.
//
// Life cycle  1. Create   2. handed on by handle()   3. destroyed: unlinked.
//             What a killed owner leaves, RemoveStale clears away.
class MemoryFile {
 public:
  // Errors  kResourceExhausted  no room for it there
  //         as ErrnoStatus      the directory
  static absl::StatusOr<MemoryFile> Create(const std::string& directory,
                                           uint32_t number, uint64_t bytes);
  // Another process's.
  // Errors  kInvalidArgument  no handle of ours
  //         kNotFound         its owner is gone
  static absl::StatusOr<UniqueFd> Open(std::span<const uint8_t> handle);
  // Unlinks the files in `directory` whose owners are gone.
  static absl::Status RemoveStale(const std::string& directory);

  MemoryFile() = default;
  MemoryFile(MemoryFile&& other) noexcept;
  MemoryFile& operator=(MemoryFile&& other) noexcept;
  ~MemoryFile();

  int fd() const { return fd_.get(); }
  std::vector<uint8_t> handle() const;

 private:
  UniqueFd fd_;  // carries the lock
  std::string path_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_MEMORY_FILE_H_
