#ifndef KVFERRY_SDK_PIN_TABLE_H_
#define KVFERRY_SDK_PIN_TABLE_H_

#include <cstdint>

#include "protocol/limits.h"
#include "protocol/shm_layout.h"

namespace kvferry::sdk {

// This session's pin counts, one cell a block, in the session's client file.
// The daemon reads them and rewrites no block whose cell is not zero
// (INV-PIN-1).
//
// Threads  any number of this process
class PinTable {
 public:
  PinTable() = default;
  PinTable(protocol::PinCell* cells, uint32_t cell_count)
      : cells_(cells), cell_count_(cell_count) {}

  // always_inline: see IndexView::PrefetchTags.
  [[gnu::always_inline]] void Prefetch(uint32_t block) const {
    __builtin_prefetch(&cells_[block], /*rw=*/1);
  }

  // Adds a pin. Returns false, with nothing added, at kPinsPerBlockMax.
  bool Raise(uint32_t block) const {
    // Ordered before the re-read of the slot by PinFence(), not here.
    const uint16_t before =
        cells_[block].fetch_add(1, std::memory_order_relaxed);
    if (before < protocol::kPinsPerBlockMax) [[likely]]
      return true;
    cells_[block].fetch_sub(1, std::memory_order_relaxed);
    return false;
  }

  // Takes it back; what was read out of the block is read before. The last
  // thing that its holder does with the attachment, which may be unmapped
  // right after.
  void Lower(uint32_t block) const {
    cells_[block].fetch_sub(1, std::memory_order_release);
  }

  // Whether no cell is raised. Says something lasting only when nobody can
  // raise one any more.
  bool AllZero() const { return !AnyRaised(0, cell_count_); }
  // Whether one of [first, first + count) is raised.
  bool AnyRaised(uint32_t first, uint32_t count) const {
    for (uint32_t block = first; block < first + count; ++block) {
      if (cells_[block].load(std::memory_order_acquire) != 0) return true;
    }
    return false;
  }

 private:
  protocol::PinCell* cells_ = nullptr;
  uint32_t cell_count_ = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_PIN_TABLE_H_
