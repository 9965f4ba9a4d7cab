#include "daemon/core/progress_view.h"

#include <atomic>
#include <cstddef>

namespace kvferry::core {

std::string ProgressView::HandOver(uint32_t record, uint32_t generation) const {
  if (header_ == nullptr) return {};
  const protocol::ProgressRecord& at = At(record);
  const uint32_t changes = at.changes.load(std::memory_order_acquire);
  const uint32_t bytes = at.hand_over_bytes.load(std::memory_order_acquire);
  const uint64_t word = at.word.load(std::memory_order_acquire);
  if (bytes == 0 || bytes > protocol::kHandOverBytesMax ||
      protocol::UnpackProgress(word).generation != generation) {
    return {};
  }
  const char* data = reinterpret_cast<const char*>(header_) +
                     protocol::kHandOverOffset +
                     uint64_t{record} * protocol::kHandOverBytesMax;
  std::string copy(data, bytes);
  // Being replaced meanwhile: none, until somebody asks again.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (at.hand_over_bytes.load(std::memory_order_relaxed) != bytes ||
      at.changes.load(std::memory_order_relaxed) != changes) {
    return {};
  }
  return copy;
}

}  // namespace kvferry::core
