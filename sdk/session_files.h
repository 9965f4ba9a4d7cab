#ifndef KVFERRY_SDK_SESSION_FILES_H_
#define KVFERRY_SDK_SESSION_FILES_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "protocol/control_generated.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::sdk {

// Where the shared words of one session lie, in this process.
struct SessionMemory {
  const protocol::IndexHeader* index = nullptr;  // buckets follow
  const protocol::SessionDaemonHeader* daemon = nullptr;
  const protocol::ReplyRecord* replies = nullptr;  // kRingRecords
  protocol::SessionClientHeader* client = nullptr;
  protocol::SubmitRecord* submissions = nullptr;  // kRingRecords
  protocol::TouchRecord* touches = nullptr;       // kTouchRecords
  protocol::PinCell* pins = nullptr;              // block_capacity
  protocol::ProgressHeader* progress = nullptr;   // records follow
};

// The files that come with an Attached message, mapped and verified.
struct SessionFiles {
  Mapping index;
  Mapping state;
  Mapping daemon;
  Mapping client;
  Mapping progress;
  // The client file once more, through an open file description of our own
  // that carries a write lock: the lock is free only when this process is
  // gone, also for a daemon that was restarted meanwhile.
  UniqueFd lock;
  UniqueFd doorbell;

  SessionMemory memory() const;
};

// Maps the six descriptors of `attached`, waiting for files whose layout
// version is not there yet. The progress file is then sealed: this mapping is
// the only way by which it ever changes, and readers may have it.
// Errors  kInvalidArgument     another number of descriptors, a short file, or
//                              a header that contradicts the message (which
//                              field, and both values)
//         kFailedPrecondition  another layout version, both named
//         kDeadlineExceeded    a header was not finished in time
//         as ErrnoStatus       mapping, re-opening, locking or sealing failed
absl::StatusOr<SessionFiles> OpenSessionFiles(
    const protocol::wire::AttachedT& attached, std::vector<UniqueFd> fds,
    absl::Time deadline);

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_SESSION_FILES_H_
