#ifndef KVFERRY_DAEMON_WORKER_DAEMON_RING_END_H_
#define KVFERRY_DAEMON_WORKER_DAEMON_RING_END_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "protocol/worker_ring.h"

namespace kvferry::worker {

// The rings of one worker process, as the daemon uses them: commands go out,
// completions come in. Owns the file and both doorbells. The worker's end is
// WorkerRingEnd.
//
// What the worker stores may be anything: every position is checked before it
// is used, and a record is copied before it is looked at.
//
// INV-WORKER-1  A record that one side adds while the other goes to sleep is
//               either seen by its last look, or rings its doorbell.
//   Made by    the sleeper: store *_asleep, full fence, look at the ring.
//   Relied on  by the producer: store the tail, full fence, load *_asleep.
//   Tested     tests/unit/daemon/worker/ring_test.cc
//
// Threads  one at a time
class DaemonRingEnd {
 public:
  // A new file, its header written.
  // Errors  kResourceExhausted  no memory; else as ErrnoStatus
  static absl::StatusOr<DaemonRingEnd> Make();

  // What the worker gets: the file, its doorbell, the daemon's.
  int file_fd() const { return file_.get(); }
  int worker_doorbell_fd() const { return worker_doorbell_.get(); }
  // Polled edge-triggered and never read: the worker has it, too, and might
  // have made it blocking.
  int daemon_doorbell_fd() const { return daemon_doorbell_.get(); }

  // Commands that there is room for. No more are ever under way than the
  // completion ring holds, so the worker never waits for room there.
  uint32_t Room() const {
    return protocol::kWorkerRingRecords -
           static_cast<uint32_t>(command_tail_ - completion_consumed_);
  }
  // REQUIRES: Room() > 0. Seen by the worker after the next Publish.
  void Push(const protocol::WorkerCommand& command);
  // Makes what was pushed visible, and wakes the worker if it sleeps.
  // Cost  a system call if it does
  void Publish();

  // The next completion. False: there is none now.
  // Errors  kInvalidArgument  the worker's positions cannot be
  absl::StatusOr<bool> Take(protocol::WorkerCompletion* completion);
  // Whether Take would find something (or an error).
  bool Ready() const;

  // Asks the worker to ring from here on (true), or not to. Followed by a full
  // fence and a last look, which the caller shares among all its rings.
  void SetAsleep(bool asleep);

 private:
  protocol::WorkerRingHeader& header() const {
    return *mapping_.At<protocol::WorkerRingHeader>(0);
  }

  UniqueFd file_;
  UniqueFd worker_doorbell_;
  UniqueFd daemon_doorbell_;
  Mapping mapping_;
  uint64_t command_tail_ = 0;
  uint64_t published_tail_ = 0;
  uint64_t completion_consumed_ = 0;
};

}  // namespace kvferry::worker

#endif  // KVFERRY_DAEMON_WORKER_DAEMON_RING_END_H_
