#ifndef KVFERRY_TESTS_SIM_MEMORY_H_
#define KVFERRY_TESTS_SIM_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/check.h"

namespace kvferry::sim {

// Zeroed, page-aligned memory in place of a shared file.
class FakeFile {
 public:
  explicit FakeFile(uint64_t bytes) {
    const uint64_t rounded = (bytes + 4095) / 4096 * 4096;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, rounded)));
    KVFERRY_CHECK(data_ != nullptr);
    std::memset(data_.get(), 0, rounded);
  }

  template <typename T>
  T* At(uint64_t offset) const {
    return reinterpret_cast<T*>(data_.get() + offset);
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_MEMORY_H_
