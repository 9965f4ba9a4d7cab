#ifndef KVFERRY_BASE_MAPPING_H_
#define KVFERRY_BASE_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace kvferry {

// One shared mapping of a file descriptor, unmapped when destroyed. Every
// mapping of the project goes through here; it wraps
// boost::interprocess::mapped_region, whose headers stay in mapping.cc.
//
// Always MAP_SHARED: a private mapping that CUDA or RDMA registered would be a
// frozen snapshot. Excluded from core dumps (MADV_DONTDUMP: KV is somebody's
// prompt) and from forked children (MADV_DONTFORK).
class Mapping {
 public:
  enum class Access { kReadOnly, kReadWrite };

  // Maps the first `bytes` bytes of `fd`, which may be closed afterwards.
  // Errors  kInvalidArgument  the file is shorter than `bytes` (a mapping
  //                           beyond its end would be SIGBUS later)
  //         as ErrnoStatus    fstat or mmap failed
  static absl::StatusOr<Mapping> Map(int fd, uint64_t bytes, Access access);

  Mapping();
  Mapping(Mapping&&) noexcept;
  Mapping& operator=(Mapping&&) noexcept;
  ~Mapping();

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }
  bool valid() const { return data_ != nullptr; }

  template <typename T>
  T* At(uint64_t offset) const {
    return reinterpret_cast<T*>(data_ + offset);
  }

 private:
  struct Region;
  std::unique_ptr<Region> region_;
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace kvferry

#endif  // KVFERRY_BASE_MAPPING_H_
