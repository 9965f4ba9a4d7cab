#ifndef KVFERRY_SDK_TOUCH_LOG_H_
#define KVFERRY_SDK_TOUCH_LOG_H_

#include <atomic>
#include <cstdint>

#include "kvferry/key.h"
#include "protocol/shm_layout.h"

namespace kvferry::sdk {

// Leaves for the daemon what matches hit and missed: recency of blocks and hit
// statistics come from it. Lossy by design: two threads may take one record
// or lose a count, and the daemon sweeps the ring now and then. Loads and
// stores only, since an atomic addition would cost as much as a pin.
//
// Threads  any number of this process
class TouchLog {
 public:
  TouchLog() = default;
  TouchLog(protocol::SessionClientHeader* client,
           protocol::TouchRecord* records, const protocol::IndexHeader* index)
      : client_(client), records_(records), index_(index) {}

  // One group of one match. `deepest_hit` is its last hit's residence word
  // (0: none), `missed` the first key that missed (none: all hit).
  void Record(uint64_t deepest_hit, uint32_t hit_blocks,
              const BlockKey& missed) const {
    const uint64_t tail = client_->touch_tail.load(kRelaxed);
    protocol::TouchRecord& record =
        records_[tail & (protocol::kTouchRecords - 1)];
    record.deepest_hit.store(deepest_hit, kRelaxed);
    record.missed_key_lo.store(missed.lo, kRelaxed);
    record.missed_key_hi.store(missed.hi, kRelaxed);
    record.hit_blocks.store(hit_blocks, kRelaxed);
    record.time_ms.store(index_->coarse_now_ms.load(kRelaxed), kRelaxed);
    client_->touch_tail.store(tail + 1, std::memory_order_release);
    // The next record's line: the pin of the next match waits for every store
    // before it, and this ring is as large as a first-level cache.
    __builtin_prefetch(&records_[(tail + 2) & (protocol::kTouchRecords - 1)],
                       /*rw=*/1);
  }

  // One match as a whole.
  void Count(uint32_t hit_blocks) const {
    Bump(&client_->match_calls, 1);
    if (hit_blocks == 0) {
      Bump(&client_->missed_calls, 1);
    } else {
      Bump(&client_->matched_blocks, hit_blocks);
    }
  }

  // What Count took for a hit turned out to be a miss. The touch stays: the
  // daemon finds that its block has gone.
  void Uncount(uint32_t hit_blocks) const {
    Bump(&client_->matched_blocks, -uint64_t{hit_blocks});
    Bump(&client_->missed_calls, 1);
  }

  // Pins undone because their block had left meanwhile.
  void CountRaces(uint32_t races) const {
    Bump(&client_->retired_races, races);
  }

 private:
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;

  static void Bump(std::atomic<uint64_t>* counter, uint64_t by) {
    counter->store(counter->load(kRelaxed) + by, kRelaxed);
  }

  protocol::SessionClientHeader* client_ = nullptr;
  protocol::TouchRecord* records_ = nullptr;
  const protocol::IndexHeader* index_ = nullptr;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_TOUCH_LOG_H_
