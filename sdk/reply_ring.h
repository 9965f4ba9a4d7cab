#ifndef KVFERRY_SDK_REPLY_RING_H_
#define KVFERRY_SDK_REPLY_RING_H_

#include <cstdint>

#include "absl/time/time.h"
#include "protocol/shm_layout.h"
#include "sdk/session_files.h"

namespace kvferry::sdk {

// The consumer's end of the session's reply ring, and the wait for it.
//
// Threads  Pop and Release: one at a time. Wait and Wake: any.
class ReplyRing {
 public:
  explicit ReplyRing(const SessionMemory& memory)
      : memory_(memory),
        consumed_(
            memory.client->reply_consumed.load(std::memory_order_relaxed)) {}

  // Takes the next record. False when there is none.
  bool Pop(protocol::ReplyRecord* record);

  // Gives the daemon the room of what was popped.
  void Release();

  // How many records were popped since the ring was made.
  uint64_t consumed() const { return consumed_; }

  // Polls for `spin`, then sleeps, until the daemon has made replies beyond
  // `consumed` or `timeout` is over. May come back for nothing.
  static void Wait(const SessionMemory& memory, uint64_t consumed,
                   absl::Duration spin, absl::Duration timeout);

  // Has every waiting thread of this process look around.
  void Wake() const;

 private:
  const SessionMemory memory_;
  uint64_t consumed_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_REPLY_RING_H_
