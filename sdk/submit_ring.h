#ifndef KVFERRY_SDK_SUBMIT_RING_H_
#define KVFERRY_SDK_SUBMIT_RING_H_

#include <cstdint>
#include <span>

#include "protocol/shm_layout.h"
#include "sdk/session_files.h"

namespace kvferry::sdk {

// A record of which only what every kind has is filled in.
inline protocol::SubmitRecord MakeSubmitRecord(protocol::SubmitType type,
                                               uint32_t handle) {
  protocol::SubmitRecord record{};
  record.type = static_cast<uint8_t>(type);
  record.handle = handle;
  return record;
}

// The producer's end of the session's submission ring.
//
// A run of records becomes visible by one store of the tail, so that the
// daemon never sees half of one. After it, a full fence and a look at
// `daemon_asleep`: the daemon stores that word, fences, and reads the tail, so
// one of the two sees the other.
//
// Threads  one at a time
class SubmitRing {
 public:
  // `doorbell` is the daemon's eventfd; -1: none (tests).
  SubmitRing(const SessionMemory& memory, int doorbell)
      : memory_(memory),
        doorbell_(doorbell),
        tail_(memory.client->submit_tail.load(std::memory_order_relaxed)) {}

  // Records that fit now. Zero, too, when the daemon's position makes no
  // sense.
  uint32_t Room() const;

  // Writes `run` and makes it visible.
  // REQUIRES  Room() >= run.size()
  void Push(std::span<const protocol::SubmitRecord> run);

  // Rings if the daemon sleeps while there is something to take.
  void RingIfAsleep() const;

  // Positions count records since the ring was made.
  uint64_t tail() const { return tail_; }
  uint64_t consumed() const {
    return memory_.daemon->submit_consumed.load(std::memory_order_acquire);
  }

 private:
  const SessionMemory memory_;
  const int doorbell_;
  uint64_t tail_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_SUBMIT_RING_H_
