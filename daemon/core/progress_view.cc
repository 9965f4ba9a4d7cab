#include "daemon/core/progress_view.h"

#include <cstddef>

namespace kvferry::core {

std::string ProgressView::HandOver(uint32_t record, uint32_t generation) const {
  if (header_ == nullptr) return {};
  const protocol::ProgressRecord& at = At(record);
  const uint32_t bytes = at.hand_over_bytes.load(std::memory_order_acquire);
  const uint64_t word = at.word.load(std::memory_order_acquire);
  if (bytes == 0 || bytes > protocol::kHandOverBytesMax ||
      protocol::UnpackProgress(word).generation != generation) {
    return {};
  }
  const char* data = reinterpret_cast<const char*>(header_) +
                     protocol::kHandOverOffset +
                     uint64_t{record} * protocol::kHandOverBytesMax;
  return {data, bytes};
}

}  // namespace kvferry::core
