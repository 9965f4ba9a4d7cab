#include "daemon/memory/read_only_view.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::memory {
namespace {

// Which step of the child failed, and how.
struct ChildResult {
  int error = 0;
  char step[28] = {};
};

// Both steps of a read-only clone; async-signal-safe, so that the child may
// use it. Returns the mount or -1 with errno set and *step named.
int CloneReadOnly(const char* directory, const char** step) {
  *step = "open_tree";
  const int mount =
      ::open_tree(AT_FDCWD, directory, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (mount < 0) return -1;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  *step = "mount_setattr";
  if (::mount_setattr(mount, "", AT_EMPTY_PATH, &attributes,
                      sizeof(attributes)) != 0) {
    const int error = errno;
    ::close(mount);
    errno = error;
    return -1;
  }
  return mount;
}

// The child's life: makes the clone, sends it, ends.
[[noreturn]] void CloneInChild(const char* directory, int channel) {
  ChildResult result;
  const char* step = "unshare";
  int mount = -1;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
    mount = CloneReadOnly(directory, &step);
  }
  if (mount < 0) result.error = errno;
  std::strncpy(result.step, step, sizeof(result.step) - 1);

  iovec vector{&result, sizeof(result)};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (mount >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &mount, sizeof(mount));
  }
  ::_exit(::sendmsg(channel, &header, MSG_NOSIGNAL) < 0 ? 1 : 0);
}

// What the child sent. A child that died sends nothing.
absl::StatusOr<UniqueFd> ReceiveMount(int channel) {
  ChildResult result;
  iovec vector{&result, sizeof(result)};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = ::recvmsg(channel, &header, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received != sizeof(result)) {
    return absl::InternalError("the child that clones the mount died");
  }
  UniqueFd mount;
  if (cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    mount.reset(fd);
  }
  if (result.error != 0) {
    return ErrnoStatus(result.error,
                       absl::StrCat(result.step, " in a user namespace"));
  }
  if (!mount.valid()) {
    return absl::InternalError("the child that clones the mount sent none");
  }
  return mount;
}

}  // namespace

absl::StatusOr<UniqueFd> ReadOnlyView::CloneMount(
    const std::string& directory) {
  const char* step = nullptr;
  UniqueFd mount(CloneReadOnly(directory.c_str(), &step));
  if (!mount.valid()) return ErrnoStatus(errno, step);
  return mount;
}

absl::StatusOr<UniqueFd> ReadOnlyView::CloneMountInUserNamespace(
    const std::string& directory) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return ErrnoStatus(errno, "fork");
  if (child == 0) CloneInChild(directory.c_str(), theirs.get());
  theirs.reset();
  absl::StatusOr<UniqueFd> mount = ReceiveMount(ours.get());
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return mount;
}

absl::StatusOr<ReadOnlyView> ReadOnlyView::Make(const std::string& directory) {
  ReadOnlyView view;
  view.directory_ = directory;
  absl::StatusOr<UniqueFd> mount = CloneMount(directory);
  if (mount.ok()) {
    view.note_ = "read-only mount";
  } else {
    const std::string direct(mount.status().message());
    mount = CloneMountInUserNamespace(directory);
    view.note_ =
        mount.ok()
            ? "read-only mount of a user namespace"
            : absl::StrCat(
                  "descriptors opened read-only, which root and this user can "
                  "open again for writing: ",
                  direct, "; ", mount.status().message());
  }
  view.enforced_ = mount.ok();
  if (mount.ok()) {
    view.root_ = *std::move(mount);
    return view;
  }
  view.root_.reset(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!view.root_.valid()) {
    return ErrnoStatus(errno, absl::StrCat("open ", directory));
  }
  return view;
}

absl::StatusOr<UniqueFd> ReadOnlyView::Open(const std::string& name) const {
  UniqueFd fd(
      ::openat(root_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    return ErrnoStatus(
        errno, absl::StrCat("open ", directory_, "/", name, " for clients"));
  }
  return fd;
}

}  // namespace kvferry::memory
