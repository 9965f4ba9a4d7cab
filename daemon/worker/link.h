#ifndef KVFERRY_DAEMON_WORKER_LINK_H_
#define KVFERRY_DAEMON_WORKER_LINK_H_

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "daemon/worker/daemon_ring_end.h"
#include "daemon/worker/process.h"
#include "protocol/worker_framing.h"

namespace kvferry::worker {

// One worker process and what connects the daemon with it: the process, its
// socket, its rings. It is born with one, lives until it is killed or exits,
// and another worker gets another Link.
//
// Nothing here blocks. A failure of any call means that this worker is of no
// use any more: Kill it, and wait for its pidfd.
//
// Threads  the control loop's
class Link {
 public:
  // Starts `program` with `args` and "--fd 3 --daemon <pid>".
  // Errors  as Process::Spawn, DaemonRingEnd::Make
  static absl::StatusOr<std::unique_ptr<Link>> Start(
      const std::string& program, std::vector<std::string> args);

  // Asks it to end, gives it a little time, kills it.
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  int socket_fd() const { return socket_.get(); }
  Process& process() { return *process_; }
  const Process& process() const { return *process_; }
  DaemonRingEnd& rings() { return rings_; }
  const DaemonRingEnd& rings() const { return rings_; }

  // Sends a message; `fds` stay the caller's. The owner has few requests
  // unanswered at a time, so a socket that is full is one that nobody reads.
  // Errors  kUnavailable  the worker has closed it, or does not read it
  template <typename Body>
  absl::Status Send(Body body, std::span<const int> fds = {}) {
    return SendMessage(protocol::MakeWorkerMessage(std::move(body)), fds);
  }
  // The worker's next message, and the descriptors beside it.
  // Errors  kNotFound         none there now
  //         kUnavailable      the worker closed its end
  //         kInvalidArgument  it broke the protocol
  absl::StatusOr<protocol::worker::MessageT> Receive(
      std::vector<UniqueFd>* fds);
  // Hands the rings over.
  absl::Status SendRings();

 private:
  Link() = default;
  absl::Status SendMessage(const protocol::worker::MessageT& message,
                           std::span<const int> fds);

  UniqueFd socket_;
  DaemonRingEnd rings_;
  std::unique_ptr<Process> process_;
};

}  // namespace kvferry::worker

#endif  // KVFERRY_DAEMON_WORKER_LINK_H_
