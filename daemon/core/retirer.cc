#include "daemon/core/retirer.h"

#include <atomic>

#include "base/check.h"
#include "daemon/core/mutant.h"

namespace kvferry::core {

using protocol::ResidenceState;

bool Retirer::Held(uint32_t block) const {
  if (blocks_->meta(block).copying) return true;
  if (!IsMutant(Mutant::kLeaseIgnored) && leases_->Holds(block)) return true;
  for (const auto& [session, pins] : pins_) {
    // Acquire pairs with the release of a reader's unpin: when the count is
    // seen to be zero, the reader's last read of the block is done.
    if (pins[block].load(std::memory_order_acquire) != 0) return true;
  }
  return false;
}

bool Retirer::KeyHeld(uint32_t host_block) const {
  if (Held(host_block)) return true;
  const uint32_t twin = blocks_->twin(host_block);
  return twin != protocol::kNoBlock &&
         !IsMutant(Mutant::kEvictReadsHostPinsOnly) && Held(twin);
}

void Retirer::SetWords(uint32_t block, ResidenceState state) {
  const uint32_t slot = blocks_->meta(block).slot;
  index_->SetHost(slot, blocks_->Residence(block, state));
  const uint32_t twin = blocks_->twin(block);
  if (twin != protocol::kNoBlock && blocks_->meta(twin).slot != kNoSlot) {
    index_->SetGpu(slot, blocks_->Residence(twin, state));
  }
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
    if (!IsMutant(Mutant::kRetireIgnoresPins) && KeyHeld(block)) {
      held->push_back(block);
      continue;
    }
    SetWords(block, ResidenceState::kRetiring);
    marked_.push_back(block);
  }
  if (marked_.empty()) return;
  // Store-load: the marks above before the pins below. A reader stores its pin
  // before it re-reads the slot; of the two, at least one sees the other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (uint32_t block : marked_) {
    if (!IsMutant(Mutant::kRetireIgnoresPins) && KeyHeld(block)) {
      // The same generations: their content never changed.
      SetWords(block, ResidenceState::kReady);
      held->push_back(block);
      continue;
    }
    BlockMeta& meta = blocks_->meta(block);
    index_->Erase(meta.slot);
    meta.slot = kNoSlot;
    const uint32_t twin = blocks_->twin(block);
    if (twin != protocol::kNoBlock) blocks_->meta(twin).slot = kNoSlot;
    retired->push_back(block);
  }
}

void Retirer::Drop(std::span<const uint32_t> victims,
                   std::vector<uint32_t>* dropped,
                   std::vector<uint32_t>* held) {
  marked_.clear();
  const bool ignores = IsMutant(Mutant::kDropIgnoresPins);
  for (uint32_t block : victims) {
    KVFERRY_CHECK(blocks_->state(block) == protocol::BlockState::kReady);
    if (!ignores && Held(block)) {
      held->push_back(block);
      continue;
    }
    index_->SetGpu(blocks_->meta(block).slot,
                   blocks_->Residence(block, ResidenceState::kRetiring));
    marked_.push_back(block);
  }
  if (marked_.empty()) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // as in Retire
  for (uint32_t block : marked_) {
    BlockMeta& meta = blocks_->meta(block);
    if (!ignores && Held(block)) {
      index_->SetGpu(meta.slot,
                     blocks_->Residence(block, ResidenceState::kReady));
      held->push_back(block);
      continue;
    }
    index_->SetGpu(meta.slot, 0);
    meta.slot = kNoSlot;
    dropped->push_back(block);
  }
}

}  // namespace kvferry::core
