#include "daemon/control/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::control {
namespace {

constexpr int kBacklog = 128;

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket ", path, ": ", path.size(),
                     " bytes, the limit is ", sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

UniqueFd MakeSocket() {
  return UniqueFd(
      ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// A folder that was there already: whoever can rename in it can put another
// socket in this one's place and pass for the daemon.
absl::Status CheckFolder(const std::string& folder) {
  struct stat found {};
  const std::string path = folder.empty() ? "." : folder;
  if (::stat(path.c_str(), &found) != 0) {
    return ErrnoStatus(errno, absl::StrCat("stat ", path));
  }
  const bool ours = found.st_uid == ::geteuid() || found.st_uid == 0;
  const bool others_write = (found.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  if (ours && (!others_write || (found.st_mode & S_ISVTX) != 0)) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat(
      "socket folder ", path, ": owned by user ", found.st_uid, ", mode 0",
      absl::Hex((found.st_mode >> 6 & 7) * 256 + (found.st_mode >> 3 & 7) * 16 +
                (found.st_mode & 7)),
      "; must be this user's or root's, and writable by nobody else unless "
      "sticky"));
}

absl::Status MakeFolder(const std::string& path, mode_t mode) {
  const std::filesystem::path folder =
      std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!std::filesystem::create_directories(folder, error)) {
    if (error) {
      return ErrnoStatus(error.value(), absl::StrCat("make ", folder.string()));
    }
    return CheckFolder(folder.string());
  }
  if (::chmod(folder.c_str(), mode) != 0) {
    return ErrnoStatus(errno, absl::StrCat("chmod ", folder.string()));
  }
  return absl::OkStatus();
}

absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoStatus(errno, absl::StrCat("stat ", path));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrCat("socket ", path, ": there is something else"));
  }
  const UniqueFd probe = MakeSocket();
  // Only a refusal says that nobody listens: with EAGAIN somebody does whose
  // queue is full, with EPROTOTYPE it is another kind of socket.
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) == 0 ||
      errno != ECONNREFUSED) {
    return absl::AlreadyExistsError(
        absl::StrCat("socket ", path, ": another daemon listens there"));
  }
  if (::unlink(path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("remove ", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Listener> Listener::Open(const std::string& path,
                                        bool open_to_others) {
  KVFERRY_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  KVFERRY_RETURN_IF_ERROR(MakeFolder(path, open_to_others ? 0755 : 0700));
  KVFERRY_RETURN_IF_ERROR(RemoveStale(path, address));
  Listener listener;
  UniqueFd socket = MakeSocket();
  if (!socket.valid()) return ErrnoStatus(errno, "socket");
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address),
             sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind ", path));
  }
  listener.path_ = path;
  listener.socket_ = std::move(socket);
  // Nobody can connect before listen, hence not with the first mode either.
  if (::chmod(path.c_str(), open_to_others ? 0666 : 0600) != 0 ||
      ::lstat(path.c_str(), &listener.identity_) != 0) {
    return ErrnoStatus(errno, absl::StrCat("chmod ", path));
  }
  if (::listen(listener.socket_.get(), kBacklog) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen ", path));
  }
  listener.reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return listener;
}

Listener& Listener::operator=(Listener&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(identity_, other.identity_);
  std::swap(socket_, other.socket_);
  std::swap(reserve_, other.reserve_);
  return *this;
}

absl::StatusOr<UniqueFd> Listener::Accept() {
  UniqueFd connection(
      ::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (connection.valid()) return connection;
  const int error = errno;
  if (error == EMFILE || error == ENFILE) {
    reserve_.reset();
    UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return ErrnoStatus(error, "accept: connection dropped");
  }
  // Gone again, or interrupted: the poller tells of what is still there.
  return absl::NotFoundError("accept: none there");
}

void Listener::Close() {
  if (!socket_.valid()) return;
  socket_.reset();
  struct stat found {};
  if (::lstat(path_.c_str(), &found) == 0 && found.st_ino == identity_.st_ino &&
      found.st_dev == identity_.st_dev) {
    ::unlink(path_.c_str());
  }
}

}  // namespace kvferry::control
