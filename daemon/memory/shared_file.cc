#include "daemon/memory/shared_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/memory/populate.h"

namespace kvferry::memory {

absl::StatusOr<SharedFile> SharedFile::Make(const ReadOnlyView& view,
                                            const std::string& name,
                                            uint64_t bytes) {
  std::string path = absl::StrCat(view.directory(), "/", name);
  UniqueFd fd(::open(path.c_str(),
                     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", path));
  SharedFile file;
  file.path_ = std::move(path);
  if (const int error =
          ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes));
      error != 0) {
    return ErrnoStatus(
        error, absl::StrCat("allocate ", bytes, " bytes for ", file.path_));
  }
  KVFERRY_ASSIGN_OR_RETURN(
      file.mapping_,
      Mapping::Map(fd.get(), bytes, Mapping::Access::kReadWrite));
  KVFERRY_RETURN_IF_ERROR(Populate(file.mapping_.data(), bytes));
  KVFERRY_ASSIGN_OR_RETURN(file.reader_, view.Open(name));
  return file;
}

SharedFile::SharedFile(SharedFile&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      mapping_(std::move(other.mapping_)),
      reader_(std::move(other.reader_)) {}

SharedFile& SharedFile::operator=(SharedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(mapping_, other.mapping_);
  std::swap(reader_, other.reader_);
  return *this;
}

SharedFile::~SharedFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace kvferry::memory
