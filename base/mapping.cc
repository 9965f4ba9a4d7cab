#include "base/mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry {
namespace {

namespace bip = boost::interprocess;

// The MemoryMappable concept of Boost.Interprocess over a descriptor of ours.
struct FdMappable {
  int fd;
  bip::mapping_handle_t get_mapping_handle() const {
    return bip::mapping_handle_t{fd, false};
  }
};

}  // namespace

struct Mapping::Region {
  bip::mapped_region region;
};

Mapping::Mapping() = default;
Mapping::~Mapping() = default;

Mapping::Mapping(Mapping&& other) noexcept
    : region_(std::move(other.region_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  region_ = std::move(other.region_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

absl::StatusOr<Mapping> Mapping::Map(int fd, uint64_t bytes, Access access) {
  struct stat file;
  if (::fstat(fd, &file) != 0) return ErrnoStatus(errno, "mapping: fstat");
  if (bytes == 0 || static_cast<uint64_t>(file.st_size) < bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("mapping: ", bytes, " bytes wanted of a file of ",
                     file.st_size, " bytes"));
  }
  Mapping mapping;
  try {
    mapping.region_ = std::make_unique<Region>();
    mapping.region_->region = bip::mapped_region(
        FdMappable{fd},
        access == Access::kReadWrite ? bip::read_write : bip::read_only, 0,
        bytes);
  } catch (const bip::interprocess_exception& error) {
    return ErrnoStatus(error.get_native_error(),
                       absl::StrCat("mapping: mmap of ", bytes, " bytes"));
  }
  mapping.data_ =
      static_cast<std::byte*>(mapping.region_->region.get_address());
  mapping.size_ = bytes;
  // Advice, not a promise: hugetlb files refuse neither, old kernels may.
  (void)::madvise(mapping.data_, bytes, MADV_DONTDUMP);
  (void)::madvise(mapping.data_, bytes, MADV_DONTFORK);
  return mapping;
}

}  // namespace kvferry
