#ifndef KVFERRY_TESTS_SIM_MEMORY_H_
#define KVFERRY_TESTS_SIM_MEMORY_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace kvferry::sim {

// Zeroed, page-aligned memory in place of a shared file. Pages that nobody
// touches cost nothing: a progress file is a megabyte of which a simulated
// client uses a few records.
class FakeFile {
 public:
  explicit FakeFile(uint64_t bytes) : bytes_((bytes + 4095) / 4096 * 4096) {
    data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    KVFERRY_CHECK(data_ != MAP_FAILED);
  }
  ~FakeFile() { ::munmap(data_, bytes_); }
  FakeFile(const FakeFile&) = delete;
  FakeFile& operator=(const FakeFile&) = delete;

  template <typename T>
  T* At(uint64_t offset) const {
    return reinterpret_cast<T*>(static_cast<std::byte*>(data_) + offset);
  }

 private:
  const uint64_t bytes_;
  void* data_ = nullptr;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_MEMORY_H_
