// Blocks that are no key's any more and may still be read or written.

#include <algorithm>

#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {
namespace {

// Quarantined blocks looked at in one go.
constexpr size_t kQuarantineSweep = 4096;

}  // namespace

void NamespaceCore::LetGo(uint32_t block) {
  if (MayFree(block)) {
    blocks_.Free(block);
    return;
  }
  if (blocks_.state(block) != protocol::BlockState::kQuarantined) {
    blocks_.Quarantine(block);
  }
  held_quarantined_.push_back(block);
}

void NamespaceCore::Rest(uint32_t block, uint64_t now_ms) {
  if (IsMutant(Mutant::kNoRest)) return;
  resting_.Add(block, now_ms + protocol::kGpuRestMs);
}

void NamespaceCore::SweepQuarantine() {
  for (size_t looks = std::min(held_quarantined_.size(), kQuarantineSweep);
       looks > 0; --looks) {
    if (quarantine_cursor_ >= held_quarantined_.size()) quarantine_cursor_ = 0;
    uint32_t& block = held_quarantined_[quarantine_cursor_];
    if (!MayFree(block)) {
      ++quarantine_cursor_;
      continue;
    }
    blocks_.Free(block);
    block = held_quarantined_.back();
    held_quarantined_.pop_back();
  }
}

}  // namespace kvferry::core
