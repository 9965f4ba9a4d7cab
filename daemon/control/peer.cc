#include "daemon/control/peer.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace kvferry::control {
namespace {

constexpr size_t kGroupsMax = 65536;  // NGROUPS_MAX of Linux

// Field 22 of /proc/PID/stat, in clock ticks since boot; 0: not there.
uint64_t StartTime(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::ostringstream text;
  text << file.rdbuf();
  const std::string stat = text.str();
  // The second field is the program's name and may contain anything.
  const size_t after_name = stat.rfind(')');
  if (after_name == std::string::npos) return 0;
  const std::vector<std::string> fields =
      absl::StrSplit(absl::string_view(stat).substr(after_name + 1), ' ',
                     absl::SkipWhitespace());
  constexpr size_t kStartTime = 22 - 3;
  uint64_t ticks = 0;
  if (fields.size() <= kStartTime ||
      !absl::SimpleAtoi(fields[kStartTime], &ticks)) {
    return 0;
  }
  return ticks;
}

std::vector<gid_t> GroupsOf(int socket) {
  std::vector<gid_t> groups(32);
  while (true) {
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(),
                     &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return groups;
    }
    // None known means access by user only.
    if (errno != ERANGE || groups.size() >= kGroupsMax) return {};
    groups.resize(bytes / sizeof(gid_t));
  }
}

}  // namespace

std::string Peer::ToString() const {
  return absl::StrCat("pid ", pid, " of user ", uid);
}

absl::StatusOr<UniqueFd> OpenProcess(pid_t pid, uid_t uid) {
  const uint64_t before = StartTime(pid);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) {
    if (errno == ESRCH) {
      return absl::UnavailableError(absl::StrCat("process ", pid, " is gone"));
    }
    return ErrnoStatus(errno, "pidfd_open");
  }
  struct stat owner {};
  const std::string path = absl::StrCat("/proc/", pid);
  // Not dumpable processes belong to root there.
  const bool same_user = ::stat(path.c_str(), &owner) == 0 &&
                         (owner.st_uid == uid || owner.st_uid == 0);
  if (before == 0 || StartTime(pid) != before || !same_user) {
    return absl::UnavailableError(
        absl::StrCat("process ", pid, " is gone, its number is another's"));
  }
  return pidfd;
}

absl::StatusOr<Peer> IdentifyPeer(int socket) {
  ucred credentials{};
  socklen_t bytes = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) !=
      0) {
    return ErrnoStatus(errno, "SO_PEERCRED");
  }
  Peer peer;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  peer.groups = GroupsOf(socket);
  int pidfd = -1;
  bytes = sizeof(pidfd);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) == 0) {
    peer.pidfd.reset(pidfd);
    return peer;
  }
  if (errno != ENOPROTOOPT) {
    return absl::UnavailableError(
        absl::StrCat("process ", peer.pid, " is gone"));
  }
  KVFERRY_ASSIGN_OR_RETURN(peer.pidfd, OpenProcess(peer.pid, peer.uid));
  return peer;
}

}  // namespace kvferry::control
