#ifndef KVFERRY_DAEMON_MEMORY_SESSION_FILES_H_
#define KVFERRY_DAEMON_MEMORY_SESSION_FILES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "daemon/memory/progress_file.h"
#include "daemon/memory/read_only_view.h"
#include "daemon/memory/shared_file.h"
#include "protocol/shm_layout.h"

namespace kvferry::memory {

// The files of a session, headers written: the daemon's half (a SharedFile),
// the client's, a sealed memory file that the client writes, and its progress.
//
// The client's half is mapped read-only here. Everything in it may change at
// any time and say anything.
class SessionFiles {
 public:
  // Errors  kResourceExhausted  no memory
  //         as ErrnoStatus
  static absl::StatusOr<SessionFiles> Make(const ReadOnlyView& view,
                                           uint16_t session, uint64_t epoch,
                                           uint32_t block_capacity);

  protocol::SessionDaemonHeader* daemon_header() const {
    return daemon_.mapping().At<protocol::SessionDaemonHeader>(0);
  }
  protocol::ReplyRecord* reply_ring() const {
    return daemon_.mapping().At<protocol::ReplyRecord>(
        protocol::kReplyRingOffset);
  }
  const protocol::SessionClientHeader* client_header() const {
    return client_.At<protocol::SessionClientHeader>(0);
  }
  const protocol::SubmitRecord* submit_ring() const {
    return client_.At<protocol::SubmitRecord>(protocol::kSubmitRingOffset);
  }
  const protocol::TouchRecord* touches() const {
    return client_.At<protocol::TouchRecord>(protocol::kTouchRingOffset);
  }
  const protocol::PinCell* pins() const {
    return client_.At<protocol::PinCell>(protocol::kPinsOffset);
  }

  int daemon_reader_fd() const { return daemon_.reader_fd(); }
  // Read-write, for the client alone, and gone from here once taken: an open
  // file description of its own, so that locks taken through it (the client
  // holds one while it lives) are not the daemon's.
  UniqueFd TakeClientFd() { return std::move(client_for_peer_); }

  ProgressFile& progress() { return progress_; }
  const ProgressFile& progress() const { return progress_; }

  // Whether somebody holds a lock on byte 0 of the client's half: its process
  // lives and has it open.
  bool client_holds_lock() const;

 private:
  SharedFile daemon_;
  UniqueFd client_fd_;
  UniqueFd client_for_peer_;
  Mapping client_;
  ProgressFile progress_;
};

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_SESSION_FILES_H_
