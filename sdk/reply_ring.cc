#include "sdk/reply_ring.h"

#include <algorithm>
#include <atomic>

#include "absl/time/clock.h"
#include "sdk/futex.h"

namespace kvferry::sdk {

bool ReplyRing::Pop(protocol::ReplyRecord* record) {
  const uint64_t tail =
      memory_.daemon->reply_tail.load(std::memory_order_acquire);
  const uint64_t there = tail - consumed_;
  // A daemon that says otherwise is broken; nothing it says is taken.
  if (there == 0 || there > protocol::kRingRecords) return false;
  *record = memory_.replies[consumed_ & (protocol::kRingRecords - 1)];
  ++consumed_;
  return true;
}

void ReplyRing::Release() {
  memory_.client->reply_consumed.store(consumed_, std::memory_order_release);
}

void ReplyRing::Wait(const SessionMemory& memory, uint64_t consumed,
                     absl::Duration spin, absl::Duration timeout) {
  const protocol::SessionDaemonHeader& daemon = *memory.daemon;
  if (spin > absl::ZeroDuration()) {
    const absl::Time spin_until = absl::Now() + std::min(spin, timeout);
    do {
      for (int i = 0; i < 16; ++i) {
        if (daemon.reply_tail.load(std::memory_order_acquire) != consumed) {
          return;
        }
        SpinPause();
      }
    } while (absl::Now() < spin_until);
  }
  // Said before the word is read again: of the daemon's "store the word, fence,
  // read reply_waiters" and this, one sees the other.
  memory.client->reply_waiters.fetch_add(1, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const auto expected = static_cast<uint32_t>(consumed);
  if (daemon.reply_futex.load(std::memory_order_acquire) == expected) {
    FutexWait(&daemon.reply_futex, expected, timeout);
  }
  memory.client->reply_waiters.fetch_sub(1, std::memory_order_relaxed);
}

void ReplyRing::Wake() const { FutexWakeAll(&memory_.daemon->reply_futex); }

}  // namespace kvferry::sdk
