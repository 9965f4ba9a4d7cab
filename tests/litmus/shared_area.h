#ifndef KVFERRY_TESTS_LITMUS_SHARED_AREA_H_
#define KVFERRY_TESTS_LITMUS_SHARED_AREA_H_

#include <atomic>
#include <cstdint>

#include "protocol/shm_layout.h"

namespace kvferry::litmus {

// Rounds between two tallies: round i of a batch plays on slot i.
inline constexpr uint32_t kBatchRounds = 1024;
static_assert(kBatchRounds % protocol::kSlotsPerBucket == 0);

// What the two processes share: the words of the protocol, and beside them
// what the game needs. A fresh file is zero, which is its first state.
//
// Two cache lines a counter: neighbouring lines are fetched in pairs.
struct SharedArea {
  // How often each side has come to a meeting (see Meet).
  alignas(128) std::atomic<uint64_t> client_meetings;
  alignas(128) std::atomic<uint64_t> daemon_meetings;
  // Set by the daemon between the two meetings that end a batch.
  alignas(128) std::atomic<uint32_t> finished;

  // Outcome of each round, read by the daemon after the batch. Written by the
  // side named.
  alignas(128) std::atomic<uint8_t> client_saw_ready[kBatchRounds];
  alignas(128) std::atomic<uint8_t> daemon_saw_pin[kBatchRounds];

  // Daemon-written, as in the index.
  protocol::Bucket buckets[kBatchRounds / protocol::kSlotsPerBucket];
  // Client-written, as in the session's client file.
  alignas(128) protocol::PinCell pins[kBatchRounds];

  std::atomic<uint64_t>& host(uint32_t round) {
    return buckets[round / protocol::kSlotsPerBucket]
        .host[round % protocol::kSlotsPerBucket];
  }
};

}  // namespace kvferry::litmus

#endif  // KVFERRY_TESTS_LITMUS_SHARED_AREA_H_
