#ifndef KVFERRY_DAEMON_CONTROL_PEER_H_
#define KVFERRY_DAEMON_CONTROL_PEER_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace kvferry::control {

// Who called connect(). (Who holds the socket now may be another: a child, or
// somebody it was passed to.)
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  // Readable once the process is gone; never mistakes another process that
  // got its number.
  UniqueFd pidfd;

  // "pid 7 of user 1000", for logs.
  std::string ToString() const;
};

// Errors  kUnavailable    the process is gone already
//         as ErrnoStatus
absl::StatusOr<Peer> IdentifyPeer(int socket);

// Without SO_PEERPIDFD (Linux before 6.5): opens the process by its number and
// checks by start time and user that the number was not given to another
// meanwhile.
absl::StatusOr<UniqueFd> OpenProcess(pid_t pid, uid_t uid);

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_PEER_H_
