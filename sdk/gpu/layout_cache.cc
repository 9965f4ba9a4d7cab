#include "sdk/gpu/layout_cache.h"

#include <algorithm>
#include <utility>

#include "base/status.h"

namespace kvferry::sdk {

absl::StatusOr<std::shared_ptr<const gpu::PreparedLayout>> LayoutCache::Get(
    const PagedMemory& memory) {
  MutexLock lock(&mutex_);
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return &entry.memory.options() == &memory.options();
      });
  if (found != entries_.end()) {
    std::rotate(entries_.begin(), found, found + 1);
    return entries_.front().layout;
  }
  const PagedOptions& options = memory.options();
  KVFERRY_ASSIGN_OR_RETURN(
      std::shared_ptr<const gpu::PreparedLayout> layout,
      device_->Prepare({.group = memory.group(),
                        .layers = options.layers,
                        .block_count = options.block_count,
                        .slice_first = options.slice_first,
                        .slice_count = options.slice_count,
                        .sub_blocks = options.sub_blocks}));
  entries_.push_front({memory, layout});
  if (entries_.size() > kEntriesMax) entries_.pop_back();
  return layout;
}

}  // namespace kvferry::sdk
