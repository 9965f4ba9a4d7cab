#include "daemon/core/eviction_queue.h"

#include <algorithm>

#include "daemon/core/mutant.h"

namespace kvferry::core {

bool EvictionQueue::Candidate(uint32_t block) const {
  const BlockMeta& meta = blocks_->meta(block);
  if (blocks_->state(block) != protocol::BlockState::kReady ||
      meta.children != 0 || meta.copying) {
    return false;
  }
  // What is in GPU memory only (not clean) would be lost.
  return !blocks_->in_gpu(block) || IsMutant(Mutant::kDropsUncleanBlock) ||
         blocks_->state(blocks_->twin(block)) == protocol::BlockState::kReady;
}

void EvictionQueue::Offer(uint32_t block) {
  BlockMeta& meta = blocks_->meta(block);
  if (meta.queued || !Candidate(block)) return;
  meta.queued = true;
  heap_.push_back({meta.last_use_ms, block});
  std::push_heap(heap_.begin(), heap_.end(), Warmer);
}

uint32_t EvictionQueue::Pop(uint32_t* budget) {
  while (!heap_.empty() && *budget > 0) {
    --*budget;
    std::pop_heap(heap_.begin(), heap_.end(), Warmer);
    Item item = heap_.back();
    heap_.pop_back();
    BlockMeta& meta = blocks_->meta(item.block);
    meta.queued = false;
    if (!Candidate(item.block)) continue;
    if (meta.last_use_ms != item.last_use_ms) {
      Offer(item.block);  // used since: back to where it belongs
      continue;
    }
    return item.block;
  }
  return protocol::kNoBlock;
}

}  // namespace kvferry::core
