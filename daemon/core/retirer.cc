#include "daemon/core/retirer.h"

#include <atomic>

#include "base/check.h"
#include "daemon/core/mutant.h"

namespace kvferry::core {

using protocol::ResidenceState;

bool Retirer::Held(uint32_t block) const {
  if (!IsMutant(Mutant::kLeaseIgnored) && leases_->Holds(block)) return true;
  for (const auto& [session, pins] : pins_) {
    // Acquire pairs with the release of a reader's unpin: when the count is
    // seen to be zero, the reader's last read of the block is done.
    if (pins[block].load(std::memory_order_acquire) != 0) return true;
  }
  return false;
}

uint32_t Retirer::PinCount(uint32_t block) const {
  uint32_t count = 0;
  for (const auto& [session, pins] : pins_) {
    count += pins[block].load(std::memory_order_relaxed);
  }
  return count;
}

void Retirer::Retire(std::span<const uint32_t> victims,
                     std::vector<uint32_t>* retired,
                     std::vector<uint32_t>* held) {
  marked_.clear();
  for (uint32_t block : victims) {
    KVFERRY_CHECK(blocks_->state(block) == protocol::BlockState::kReady);
    // A first look, so that a hot block is not marked for nothing (readers
    // that meet the mark take a miss or try again).
    if (!IsMutant(Mutant::kRetireIgnoresPins) && Held(block)) {
      held->push_back(block);
      continue;
    }
    index_->SetHost(blocks_->meta(block).slot,
                    blocks_->Residence(block, ResidenceState::kRetiring));
    marked_.push_back(block);
  }
  if (marked_.empty()) return;
  // Store-load: the marks above before the pins below. A reader stores its pin
  // before it re-reads the slot; of the two, at least one sees the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (uint32_t block : marked_) {
    BlockMeta& meta = blocks_->meta(block);
    if (!IsMutant(Mutant::kRetireIgnoresPins) && Held(block)) {
      // The same generation: its content never changed.
      index_->SetHost(meta.slot,
                      blocks_->Residence(block, ResidenceState::kReady));
      held->push_back(block);
      continue;
    }
    index_->Erase(meta.slot);
    meta.slot = kNoSlot;
    retired->push_back(block);
  }
}

}  // namespace kvferry::core
