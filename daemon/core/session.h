#ifndef KVFERRY_DAEMON_CORE_SESSION_H_
#define KVFERRY_DAEMON_CORE_SESSION_H_

#include <cstdint>

#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// The client's half of a session, as the daemon reads it. Everything there is
// the client's to write: copy, check, then use.
struct SessionMemory {
  const protocol::SessionClientHeader* header = nullptr;
  const protocol::TouchRecord* touches = nullptr;  // kTouchRecords
  const protocol::PinCell* pins = nullptr;         // block_capacity
  // How far it is with what it writes; null: its publications cannot be
  // followed.
  const protocol::ProgressHeader* progress = nullptr;
};

// Where the core's answers to a session go: its reply ring.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  // Records that fit now.
  virtual uint32_t Room() const = 0;
  // REQUIRES  Room() > 0
  virtual void Push(const protocol::ReplyRecord& record) = 0;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_SESSION_H_
