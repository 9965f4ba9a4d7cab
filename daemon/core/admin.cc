// What operators ask of a namespace.

#include <atomic>
#include <cstddef>

#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"

namespace kvferry::core {
namespace {

using protocol::BlockState;
using protocol::kNoBlock;

// Whether the key's hex digits (ToHex of kvferry/key.h) begin with `prefix`.
// No string is made: a namespace may have millions of blocks to look at.
bool HasPrefix(const BlockKey& key, absl::string_view prefix) {
  constexpr char kDigits[] = "0123456789abcdef";
  if (prefix.size() > 32) return false;
  for (size_t i = 0; i < prefix.size(); ++i) {
    const uint64_t half = i < 16 ? key.lo : key.hi;
    const size_t byte = i % 16 / 2;
    const uint64_t value = half >> (8 * byte) & 0xff;
    if (kDigits[i % 2 == 0 ? value >> 4 : value & 15] != prefix[i]) {
      return false;
    }
  }
  return true;
}

}  // namespace

uint32_t NamespaceCore::Clear() {
  header_->content_epoch.fetch_add(1, std::memory_order_relaxed);
  leases_.Clear();
  uint32_t left = 0;
  // Standbys first: none shall take the place of what is aborted below.
  for (auto& [identity, publication] : publications_) {
    for (PublicationEntry& entry : publication->entries) {
      if (entry.state != EntryState::kStandby ||
          IsMutant(Mutant::kStandbyOutlivesClear)) {
        continue;
      }
      AbortStandby(*publication, entry);
      SettleAborted(entry);
    }
  }
  for (auto& [identity, publication] : publications_) {
    for (PublicationEntry& entry : publication->entries) {
      if (entry.state != EntryState::kWriting ||
          IsMutant(Mutant::kClearForgetsInFlight)) {
        continue;
      }
      AbortEntry(*publication, entry, ticked_ms_);
      SettleAborted(entry);
      ++left;
    }
  }
  // Copies that have not begun need not be waited for.
  for (const CopyQueue::Entry& entry : copies_.TakeWaiting()) {
    EndCopying(entry.order);
  }
  // Out of the index first, then one fence, then the pins: a reader that
  // validated before is seen, one that has not finds the slot empty.
  std::vector<uint32_t> cleared;
  uint32_t keys = 0;
  for (uint32_t block = 0; block < blocks_.host_blocks(); ++block) {
    if (blocks_.meta(block).slot == kNoSlot ||
        blocks_.state(block) == BlockState::kPublishing) {
      continue;
    }
    TakeOut(block, &cleared);
    ++keys;
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (uint32_t block : cleared) LetGo(block);
  return left + keys;
}

EvictCounts NamespaceCore::Evict(absl::string_view prefix_hex, uint32_t limit,
                                 uint64_t now_ms) {
  EvictCounts counts;
  auto add = [&counts](EvictCounts more) {
    counts.evicted += more.evicted;
    counts.pinned += more.pinned;
  };
  if (prefix_hex.empty()) {
    SweepTouches(now_ms);
    for (uint32_t g = 0; g < groups_.size(); ++g) {
      // Held blocks go back as the warmest: each is met once.
      std::vector<uint32_t> held;
      while (counts.evicted < limit) {
        uint32_t budget = ~uint32_t{0};
        const uint32_t block = areas_[g].evictable.Pop(&budget);
        if (block == kNoBlock) break;
        if (retirer_.KeyHeld(block)) {
          held.push_back(block);
        } else {
          add(EvictBlocks({&block, 1}, now_ms));
        }
      }
      counts.pinned += static_cast<uint32_t>(held.size());
      for (uint32_t block : held) areas_[g].evictable.Offer(block);
    }
    return counts;
  }
  std::vector<uint32_t> matching;
  for (uint32_t block = 0;
       block < blocks_.host_blocks() && matching.size() < limit; ++block) {
    if (blocks_.state(block) != BlockState::kReady ||
        !HasPrefix(index_.key(blocks_.meta(block).slot), prefix_hex)) {
      continue;
    }
    if (retirer_.KeyHeld(block)) {
      ++counts.pinned;
    } else {
      matching.push_back(block);
    }
  }
  add(EvictBlocks(matching, now_ms));
  return counts;
}

std::vector<BlockDescription> NamespaceCore::Describe(
    absl::string_view prefix_hex, uint32_t limit, bool* more) const {
  std::vector<BlockDescription> found;
  *more = false;
  for (uint32_t block = 0; block < blocks_.host_blocks(); ++block) {
    const BlockMeta& meta = blocks_.meta(block);
    if (meta.slot == kNoSlot) continue;
    const BlockKey key = index_.key(meta.slot);
    if (!HasPrefix(key, prefix_hex)) continue;
    if (found.size() == limit) {
      *more = true;
      break;
    }
    BlockDescription description;
    description.key = key;
    description.group = blocks_.group_of(block);
    description.block = block;
    description.generation = blocks_.generation(block);
    description.state = protocol::UnpackResidence(index_.host(meta.slot)).state;
    if (meta.parent != kNoBlock &&
        OwnsLive(meta.parent, meta.parent_generation)) {
      description.parent = index_.key(blocks_.meta(meta.parent).slot);
    }
    description.children = meta.children;
    description.pins = retirer_.PinCount(block);
    description.last_use_ms = meta.last_use_ms;
    const uint32_t gpu = blocks_.twin(block);
    if (gpu != kNoBlock && blocks_.meta(gpu).slot != kNoSlot) {
      description.gpu_pool = PoolNumberOf(blocks_.area_of(gpu));
      description.gpu_block = gpu;
      description.gpu_state =
          protocol::UnpackResidence(index_.gpu(meta.slot)).state;
      description.gpu_pins = retirer_.PinCount(gpu);
    }
    found.push_back(description);
  }
  return found;
}

}  // namespace kvferry::core
