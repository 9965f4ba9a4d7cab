#include "sdk/submit_ring.h"

#include <unistd.h>

#include <atomic>

namespace kvferry::sdk {

uint32_t SubmitRing::Room() const {
  const uint64_t held = tail_ - consumed();
  return held > protocol::kRingRecords
             ? 0
             : protocol::kRingRecords - static_cast<uint32_t>(held);
}

void SubmitRing::Push(std::span<const protocol::SubmitRecord> run) {
  for (const protocol::SubmitRecord& record : run) {
    memory_.submissions[tail_ & (protocol::kRingRecords - 1)] = record;
    ++tail_;
  }
  memory_.client->submit_tail.store(tail_, std::memory_order_release);
  RingIfAsleep();
}

void SubmitRing::RingIfAsleep() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (memory_.index->daemon_asleep.load(std::memory_order_relaxed) == 0 ||
      doorbell_ < 0) {
    return;
  }
  const uint64_t one = 1;
  // A full counter means that it rings already.
  (void)!::write(doorbell_, &one, sizeof(one));
}

}  // namespace kvferry::sdk
