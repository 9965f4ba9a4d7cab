#ifndef KVFERRY_DAEMON_CONTROL_LISTENER_H_
#define KVFERRY_DAEMON_CONTROL_LISTENER_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace kvferry::control {

// The daemon's unix socket (SOCK_SEQPACKET). Its path goes with it.
class Listener {
 public:
  // Makes the folder when it is missing. With `open_to_others` anybody may
  // connect (folder 0755, socket 0666) and each request is judged by who asks;
  // without, only the daemon's user and root get that far (0700, 0600).
  //
  // REQUIRES  the lock on the node's directory: what lies at `path` and does
  //           not answer is then a dead daemon's and is removed.
  // Errors    kAlreadyExists     a daemon (of another directory) answers there,
  //                              or it is no socket
  //           as ErrnoStatus
  static absl::StatusOr<Listener> Open(const std::string& path,
                                       bool open_to_others);
  Listener() = default;
  Listener(Listener&&) = default;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener() { Close(); }

  int fd() const { return socket_.get(); }
  // A new connection, non-blocking.
  // Errors  kNotFound           none there
  //         kResourceExhausted  out of descriptors; the connection was dropped
  absl::StatusOr<UniqueFd> Accept();
  void Close();

 private:
  std::string path_;
  struct stat identity_ {};
  UniqueFd socket_;
  // Given up for a moment when there are no descriptors left, so that a
  // connection can be taken and dropped: it would wake the loop for ever.
  UniqueFd reserve_;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_LISTENER_H_
