#ifndef KVFERRY_DAEMON_CORE_EVICTION_QUEUE_H_
#define KVFERRY_DAEMON_CORE_EVICTION_QUEUE_H_

#include <cstdint>
#include <vector>

#include "daemon/core/block_table.h"

namespace kvferry::core {

// The ready blocks of one area that no visible block there continues (the tails
// of the cached prefixes), coldest first; of a GPU pool, those whose bytes host
// memory has, too.
//
// A binary heap whose order is corrected lazily: a touch only stores
// BlockMeta::last_use_ms, and Pop puts a block back when it finds it warmer
// than when it was queued, or drops it when it is no candidate any more. So a
// touch costs one store, however many blocks there are. A list would need the
// place of a block that becomes a tail again, which only a search finds.
//
// A block stands here at most once (BlockMeta::queued).
//
// Threads  one
class EvictionQueue {
 public:
  explicit EvictionQueue(BlockTable* blocks) : blocks_(blocks) {}

  // Queues `block` if it is a candidate and not queued yet.
  void Offer(uint32_t block);

  // The coldest candidate, or kNoBlock. It is no longer queued: Offer it again
  // if it stays. Each look at an entry takes one from `budget`; at zero it
  // gives up, with the order corrected so far.
  uint32_t Pop(uint32_t* budget);

  uint32_t size() const { return static_cast<uint32_t>(heap_.size()); }

 private:
  struct Item {
    uint32_t last_use_ms;
    uint32_t block;
  };
  // Times wrap after 49 days; what is compared lies closer together.
  static bool Warmer(const Item& a, const Item& b) {
    const auto distance = static_cast<int32_t>(a.last_use_ms - b.last_use_ms);
    return distance != 0 ? distance > 0 : a.block > b.block;
  }
  bool Candidate(uint32_t block) const;

  BlockTable* const blocks_;
  std::vector<Item> heap_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_EVICTION_QUEUE_H_
