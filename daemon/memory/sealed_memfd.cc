#include "daemon/memory/sealed_memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::memory {

absl::StatusOr<UniqueFd> MakeSealedMemfd(const std::string& name,
                                         uint64_t bytes, mode_t mode,
                                         unsigned memfd_flags,
                                         FurtherSeals further_seals) {
  UniqueFd fd(::memfd_create(name.c_str(),
                             MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat(name, ": memfd"));
  if (::fchmod(fd.get(), mode) != 0) {
    return ErrnoStatus(errno, absl::StrCat(name, ": fchmod"));
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return ErrnoStatus(errno, absl::StrCat(name, ": ", bytes, " bytes"));
  }
  int seals = F_SEAL_SHRINK | F_SEAL_GROW;
  if (further_seals == FurtherSeals::kForbidden) seals |= F_SEAL_SEAL;
  if (::fcntl(fd.get(), F_ADD_SEALS, seals) != 0) {
    return ErrnoStatus(errno, absl::StrCat(name, ": seal"));
  }
  return fd;
}

absl::StatusOr<UniqueFd> OpenAgain(int fd, int flags) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  UniqueFd again(::open(path.c_str(), flags | O_CLOEXEC));
  if (!again.valid()) return ErrnoStatus(errno, absl::StrCat("open ", path));
  return again;
}

}  // namespace kvferry::memory
