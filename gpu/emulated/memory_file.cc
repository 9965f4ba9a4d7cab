#include "gpu/emulated/memory_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::gpu {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr absl::string_view kFilePrefix = "kvferry-emulated-gpu-";
// Until its owner has locked it.
constexpr absl::string_view kNewSuffix = ".new";
constexpr absl::string_view kHandleHead = "kvferry-emulated:";

struct flock WholeFile() {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

// Whether somebody holds the lock on the file of `fd`.
bool Owned(int fd) {
  struct flock lock = WholeFile();
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace

absl::StatusOr<UniqueFd> MakeMemoryDescriptor(uint64_t bytes) {
  UniqueFd fd(
      ::memfd_create("kvferry-emulated-gpu", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus(errno, "gpu: memfd_create");
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("gpu: memory of ", bytes, " bytes"));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) {
    return ErrnoStatus(errno, "gpu: sealing a memfd");
  }
  return fd;
}

absl::Status CheckMemoryDescriptor(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return absl::InvalidArgumentError(
        "gpu: the descriptor is not of an emulated device's memory");
  }
  return absl::OkStatus();
}

absl::StatusOr<MemoryFile> MemoryFile::Create(const std::string& directory,
                                              uint32_t number, uint64_t bytes) {
  static std::atomic<uint32_t> count{0};
  MemoryFile file;
  const std::string path = absl::StrCat(directory, "/", kFilePrefix, number,
                                        "-", ::getpid(), "-", ++count);
  const std::string unlocked = absl::StrCat(path, kNewSuffix);
  file.fd_.reset(::open(unlocked.c_str(),
                        O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                        S_IRUSR | S_IWUSR));
  if (!file.fd_.valid()) {
    return ErrnoStatus(errno, absl::StrCat("gpu: ", unlocked));
  }
  file.path_ = unlocked;  // from here on unlinked when anything fails
  // Room for all of it now: a page that has none later is SIGBUS.
  if (const int error =
          ::posix_fallocate(file.fd(), 0, static_cast<off_t>(bytes));
      error != 0) {
    return ErrnoStatus(error,
                       absl::StrCat("gpu: ", bytes, " bytes for ", unlocked));
  }
  struct flock lock = WholeFile();
  if (::fcntl(file.fd(), F_OFD_SETLK, &lock) != 0) {
    return ErrnoStatus(errno, absl::StrCat("gpu: locking ", unlocked));
  }
  if (::rename(unlocked.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("gpu: ", path));
  }
  file.path_ = path;
  return file;
}

absl::StatusOr<UniqueFd> MemoryFile::Open(std::span<const uint8_t> handle) {
  if (handle.size() <= kHandleHead.size() ||
      !std::equal(kHandleHead.begin(), kHandleHead.end(), handle.begin())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu: a handle of ", handle.size(), " bytes, of no emulated device"));
  }
  const std::string path(handle.begin() + kHandleHead.size(), handle.end());
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("gpu: ", path));
  if (!Owned(fd.get())) {
    return absl::NotFoundError(
        absl::StrCat("gpu: the owner of ", path, " is gone"));
  }
  return fd;
}

absl::Status MemoryFile::RemoveStale(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(
      ::opendir(directory.c_str()), &::closedir);
  if (entries == nullptr) {
    return ErrnoStatus(errno, absl::StrCat("gpu: ", directory));
  }
  while (const dirent* const entry = ::readdir(entries.get())) {
    const absl::string_view name(entry->d_name);
    // One that is new may not be locked yet.
    if (!absl::StartsWith(name, kFilePrefix) ||
        absl::EndsWith(name, kNewSuffix)) {
      continue;
    }
    const UniqueFd fd(::openat(::dirfd(entries.get()), entry->d_name,
                               O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (fd.valid() && !Owned(fd.get())) {
      (void)::unlinkat(::dirfd(entries.get()), entry->d_name, 0);
    }
  }
  return absl::OkStatus();
}

MemoryFile::MemoryFile(MemoryFile&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}

MemoryFile& MemoryFile::operator=(MemoryFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

MemoryFile::~MemoryFile() {
  if (!path_.empty()) (void)::unlink(path_.c_str());
}

std::vector<uint8_t> MemoryFile::handle() const {
  const std::string handle = absl::StrCat(kHandleHead, path_);
  return {handle.begin(), handle.end()};
}

}  // namespace kvferry::gpu
