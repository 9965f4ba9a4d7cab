#include "tools/kvferry-bench/buffer.h"

#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::bench {
namespace {

constexpr uint64_t kSmallPageBytes = 4096;
constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

}  // namespace

absl::StatusOr<UniqueFd> MakeMemoryFile(uint64_t bytes, PageKind kind) {
  unsigned int flags = MFD_CLOEXEC;
  uint64_t page_bytes = kSmallPageBytes;
  if (kind == PageKind::kHuge) {
    flags |= MFD_HUGETLB | MFD_HUGE_2MB;
    page_bytes = kHugePageBytes;
  }
  UniqueFd file(::memfd_create("kvferry-bench", flags));
  if (!file.valid()) return ErrnoStatus(errno, "memfd_create");
  const uint64_t rounded = (bytes + page_bytes - 1) / page_bytes * page_bytes;
  if (::ftruncate(file.get(), static_cast<off_t>(rounded)) != 0) {
    return ErrnoStatus(errno,
                       absl::StrCat("a memory file of ", rounded, " bytes"));
  }
  return file;
}

absl::Status PopulatePages(const Mapping& mapping) {
  while (::madvise(mapping.data(), mapping.size(), MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return ErrnoStatus(errno,
                       absl::StrCat("populating ", mapping.size(), " bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Buffer> Buffer::Shared(uint64_t bytes, PageKind kind) {
  KVFERRY_ASSIGN_OR_RETURN(const UniqueFd file, MakeMemoryFile(bytes, kind));
  Buffer buffer;
  KVFERRY_ASSIGN_OR_RETURN(
      buffer.mapping_,
      Mapping::Map(file.get(), bytes, Mapping::Access::kReadWrite));
  buffer.bytes_ = bytes;
  KVFERRY_RETURN_IF_ERROR(PopulatePages(buffer.mapping_));
  return buffer;
}

absl::StatusOr<Buffer> Buffer::Private(uint64_t bytes) {
  Buffer buffer;
  buffer.heap_.reset(
      static_cast<std::byte*>(std::aligned_alloc(kSmallPageBytes, bytes)));
  if (buffer.heap_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no ", bytes, " bytes of memory"));
  }
  std::memset(buffer.heap_.get(), 1, bytes);
  buffer.bytes_ = bytes;
  return buffer;
}

}  // namespace kvferry::bench
