#ifndef KVFERRY_DAEMON_WORKER_WORKER_RING_END_H_
#define KVFERRY_DAEMON_WORKER_WORKER_RING_END_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "protocol/worker_ring.h"

namespace kvferry::worker {

// The rings as the worker process uses them: commands come in, completions go
// out. The daemon's end is DaemonRingEnd, which also has the invariant that
// sleeping follows.
//
// Threads  one at a time
class WorkerRingEnd {
 public:
  // Of the message Rings: the file, the worker's doorbell, the daemon's.
  // Errors  kInvalidArgument  other descriptors, another version
  //         as Mapping::Map
  static absl::StatusOr<WorkerRingEnd> Make(std::span<UniqueFd> fds);

  // The next command. False: there is none now.
  // Errors  kInvalidArgument  the daemon's positions cannot be
  absl::StatusOr<bool> Take(protocol::WorkerCommand* command);
  // Says that a command is done. Seen by the daemon after the next Publish.
  // REQUIRES: no more than there were commands, which leaves room
  void Post(const protocol::WorkerCompletion& completion);
  // Cost  a system call if the daemon sleeps
  void Publish();

  // Readable when the daemon rang.
  int doorbell_fd() const { return worker_doorbell_.get(); }
  // Asks the daemon to ring. False: there are commands already, do not sleep.
  bool PrepareToSleep();
  // After it, whether it slept or not: rings no more, and the doorbell is
  // silent.
  void WakeUp();

 private:
  protocol::WorkerRingHeader& header() const {
    return *mapping_.At<protocol::WorkerRingHeader>(0);
  }

  UniqueFd worker_doorbell_;
  UniqueFd daemon_doorbell_;
  Mapping mapping_;
  uint64_t command_consumed_ = 0;
  uint64_t completion_tail_ = 0;
  uint64_t published_tail_ = 0;
};

}  // namespace kvferry::worker

#endif  // KVFERRY_DAEMON_WORKER_WORKER_RING_END_H_
