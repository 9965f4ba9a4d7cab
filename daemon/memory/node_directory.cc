#include "daemon/memory/node_directory.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::memory {
namespace {

constexpr size_t kSmallFileBytes = 64;

// A small file of the directory; empty when it is not there.
std::string ReadSmallFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  char bytes[kSmallFileBytes];
  const ssize_t count = fd.valid() ? ::read(fd.get(), bytes, sizeof(bytes)) : 0;
  return std::string(bytes, count > 0 ? static_cast<size_t>(count) : 0);
}

// Replaces a small file as a whole: a daemon killed in between leaves the old
// one.
absl::Status WriteSmallFile(const std::string& path,
                            absl::string_view content) {
  const std::string fresh = absl::StrCat(path, ".new");
  UniqueFd fd(::open(fresh.c_str(),
                     O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                     0600));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", fresh));
  if (::write(fd.get(), content.data(), content.size()) !=
      static_cast<ssize_t>(content.size())) {
    return ErrnoStatus(errno, absl::StrCat("write ", fresh));
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("rename to ", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NodeDirectory> NodeDirectory::Open(const std::string& path,
                                                  absl::Time now) {
  NodeDirectory directory;
  directory.path_ = path;
  KVFERRY_RETURN_IF_ERROR(directory.Create());
  KVFERRY_RETURN_IF_ERROR(directory.Lock());
  KVFERRY_RETURN_IF_ERROR(directory.StartEpoch(now));
  KVFERRY_RETURN_IF_ERROR(directory.Identify("secret", directory.secret_.data(),
                                             directory.secret_.size()));
  KVFERRY_RETURN_IF_ERROR(directory.Identify("node", directory.node_id_.data(),
                                             directory.node_id_.size()));
  return directory;
}

absl::Status NodeDirectory::Create() {
  const std::filesystem::path parent =
      std::filesystem::path(path_).parent_path();
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error) {
    return ErrnoStatus(error.value(), absl::StrCat("make ", parent.string()));
  }
  if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, absl::StrCat("make ", path_));
  }
  // Somebody else's directory, or a link to one, would let them replace what
  // clients trust.
  struct stat found {};
  if (::lstat(path_.c_str(), &found) != 0) {
    return ErrnoStatus(errno, absl::StrCat("stat ", path_));
  }
  if (!S_ISDIR(found.st_mode) || found.st_uid != ::geteuid()) {
    return absl::PermissionDeniedError(
        absl::StrCat(path_, ": not a directory of user ", ::geteuid(),
                     " (it belongs to user ", found.st_uid, ")"));
  }
  if ((found.st_mode & 07777) != 0700 && ::chmod(path_.c_str(), 0700) != 0) {
    return ErrnoStatus(errno, absl::StrCat("chmod ", path_));
  }
  return absl::OkStatus();
}

absl::Status NodeDirectory::Lock() {
  const std::string path = absl::StrCat(path_, "/lock");
  lock_.reset(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock_.valid()) return ErrnoStatus(errno, absl::StrCat("open ", path));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(lock_.get(), F_OFD_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) {
      return ErrnoStatus(errno, absl::StrCat("lock ", path));
    }
    const std::string pid = ReadSmallFile(path);
    return absl::AlreadyExistsError(absl::StrCat(
        path_, ": in use by the kvferryd with pid ",
        pid.empty() ? "(none yet: it is starting)"
                    : std::string(absl::StripAsciiWhitespace(pid))));
  }
  const std::string pid = absl::StrCat(::getpid(), "\n");
  if (::ftruncate(lock_.get(), 0) != 0 ||
      ::pwrite(lock_.get(), pid.data(), pid.size(), 0) !=
          static_cast<ssize_t>(pid.size())) {
    return ErrnoStatus(errno, absl::StrCat("write ", path));
  }
  return absl::OkStatus();
}

absl::Status NodeDirectory::StartEpoch(absl::Time now) {
  const std::string path = absl::StrCat(path_, "/epoch");
  uint64_t previous = 0;
  if (!absl::SimpleAtoi(ReadSmallFile(path), &previous)) previous = 0;
  const int64_t clock = std::max<int64_t>(0, absl::ToUnixMicros(now));
  epoch_ = std::max(previous + 1, static_cast<uint64_t>(clock));
  return WriteSmallFile(path, absl::StrCat(epoch_, "\n"));
}

absl::Status NodeDirectory::Identify(const char* name, std::byte* bytes,
                                     size_t count) {
  const std::string path = absl::StrCat(path_, "/", name);
  const std::string kept = ReadSmallFile(path);
  if (kept.size() == count) {
    std::copy_n(reinterpret_cast<const std::byte*>(kept.data()), count, bytes);
    return absl::OkStatus();
  }
  if (::getrandom(bytes, count, 0) != static_cast<ssize_t>(count)) {
    return ErrnoStatus(errno, "getrandom");
  }
  return WriteSmallFile(
      path, absl::string_view(reinterpret_cast<const char*>(bytes), count));
}

int NodeDirectory::RemoveSharedFiles() {
  std::vector<std::filesystem::path> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "index.") || absl::StartsWith(name, "state.") ||
        absl::StartsWith(name, "session.")) {
      found.push_back(entry.path());
    }
  }
  int removed = 0;
  for (const std::filesystem::path& path : found) {
    removed += ::unlink(path.c_str()) == 0;
  }
  return removed;
}

}  // namespace kvferry::memory
