#ifndef KVFERRY_DAEMON_CONTROL_SESSION_RINGS_H_
#define KVFERRY_DAEMON_CONTROL_SESSION_RINGS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/core/namespace_core.h"
#include "daemon/core/session.h"
#include "daemon/memory/session_files.h"
#include "protocol/shm_layout.h"

namespace kvferry::control {

// The daemon's ends of a session's two rings: takes runs out of the submission
// ring, puts replies into the reply ring.
//
// The submission ring, both its positions as the client stores them and every
// record of it, is the client's to write at any time. Positions are checked
// before use; a record is copied once and only the copy is looked at.
//
// Threads  the control loop's
class SessionRings final : public core::ReplySink {
 public:
  // `files` outlives it.
  SessionRings(uint16_t session, const memory::SessionFiles& files);

  // Records that fit into the reply ring, as of the last RefreshRoom: only Push
  // changes it, never the client.
  uint32_t Room() const override;
  void Push(const protocol::ReplyRecord& record) override;

  // Takes in how far the client has read its replies. Pump does it by itself.
  // Errors  any: the client broke the protocol
  absl::Status RefreshRoom();

  // Whether Pump would find a run that it can take in.
  bool Ready() const;
  // Whether a run waits for the client to read replies, which rings no bell.
  bool starved() const { return room_needed_ > 0; }

  // Hands at most `runs_max` whole runs to the core, as long as there is room
  // for all replies that they may make. Returns how many.
  // Errors  any: the client broke the protocol; the message says how
  absl::StatusOr<uint32_t> Pump(core::NamespaceCore& core, uint64_t now_ms,
                                uint32_t runs_max);

  // Wakes the client's threads when there are replies since the last call.
  void Flush();

  // Tells the client that what it has pinned or been granted is void.
  void Revoke();

 private:
  absl::Status CheckTail(uint64_t submit_tail) const;
  void CopyRecord(uint64_t position, protocol::SubmitRecord* record) const;

  const uint16_t session_;
  protocol::SessionDaemonHeader& daemon_;
  protocol::ReplyRecord* const replies_;
  const protocol::SessionClientHeader& client_;
  const protocol::SubmitRecord* const submissions_;

  uint64_t submit_consumed_ = 0;
  uint64_t reply_tail_ = 0;
  uint64_t reply_consumed_ = 0;  // checked: between its last value and the tail
  uint64_t reply_flushed_ = 0;
  // The tail at which the last run was found cut short: nothing to do until
  // it moves.
  uint64_t short_tail_ = 0;
  bool cut_short_ = false;
  // What the next run needs, when that was more than there was.
  uint32_t room_needed_ = 0;
  std::vector<protocol::SubmitRecord> run_;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_SESSION_RINGS_H_
