// Making room: eviction, recency.

#include <algorithm>

#include "base/check.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::kNoBlock;

namespace {

// Blocks evicted at once when one is needed: fences and pin scans are shared.
constexpr uint32_t kEvictBatch = 64;
// Looks at the queue in one go; the rest says `no space`. Bounds a turn of the
// control loop to a few milliseconds when everything is pinned.
constexpr uint32_t kEvictScanMax = 16384;
// Having found nothing, so many looks do until kDryMs have passed: an unpinned
// block of a small group is found at once, a pinned pool costs nobody a scan.
constexpr uint32_t kEvictScanDry = 64;
constexpr uint64_t kDryMs = 10;

}  // namespace

uint32_t NamespaceCore::BatchOf(uint32_t area) const {
  return std::clamp(blocks_.counts(area).capacity / 64, 1u, kEvictBatch);
}

uint32_t NamespaceCore::TakeFree(uint32_t area, uint16_t owner,
                                 uint64_t now_ms) {
  if (blocks_.free_count(area) == 0) MakeRoom(area, BatchOf(area), now_ms);
  const uint32_t block = blocks_.Grant(area, owner);
  if (block == kNoBlock) areas_[area].wants_recall = true;
  return block;
}

void NamespaceCore::MakeRoom(uint32_t a, uint32_t want, uint64_t now_ms,
                             std::optional<uint32_t> colder_than_ms) {
  if (touches_swept_ms_ != now_ms) SweepTouches(now_ms);
  Area& area = areas_[a];
  uint32_t budget = now_ms < area.dry_until_ms ? kEvictScanDry : kEvictScanMax;
  bool evicted = false;
  while (blocks_.free_count(a) < want && budget > 0) {
    const uint32_t missing = want - blocks_.free_count(a);
    victims_.clear();
    // Until a block that these leave behind as a tail would be colder than the
    // next: one batch must not take the tail of every prefix, new ones too.
    uint32_t warmest = static_cast<uint32_t>(now_ms);
    while (victims_.size() < missing) {
      const uint32_t block = area.evictable.Pop(&budget);
      if (block == kNoBlock) break;
      const BlockMeta& meta = blocks_.meta(block);
      const bool too_warm =
          (!victims_.empty() &&
           static_cast<int32_t>(meta.last_use_ms - warmest) > 0) ||
          (colder_than_ms.has_value() &&
           static_cast<int32_t>(meta.last_use_ms - *colder_than_ms) >= 0);
      if (too_warm) {
        area.evictable.Offer(block);
        break;
      }
      victims_.push_back(block);
      if (meta.parent == kNoBlock ||
          !OwnsLive(meta.parent, meta.parent_generation)) {
        continue;
      }
      // What the parent inherits when this goes (UnlinkParent).
      const uint32_t above = blocks_.meta(meta.parent).last_use_ms;
      const uint32_t inherited =
          static_cast<int32_t>(meta.last_use_ms - above) > 0 ? meta.last_use_ms
                                                             : above;
      if (static_cast<int32_t>(inherited - warmest) < 0) warmest = inherited;
    }
    // The tails that go make their parents candidates: the next round's.
    if (victims_.empty()) break;
    const EvictCounts counts = a < groups_.size()
                                   ? EvictBlocks(victims_, now_ms)
                                   : DropBlocks(victims_, now_ms);
    evicted = evicted || counts.evicted > 0;
    // Looks that led to a block are free, so that want alone bounds those.
    budget += counts.evicted;
  }
  if (!evicted && blocks_.free_count(a) == 0) {
    if (now_ms >= area.dry_until_ms) area.dry_until_ms = now_ms + kDryMs;
  } else {
    area.dry_until_ms = 0;
  }
}

EvictCounts NamespaceCore::EvictBlocks(std::span<const uint32_t> victims,
                                       uint64_t now_ms) {
  retired_.clear();
  held_.clear();
  retirer_.Retire(victims, &retired_, &held_);
  for (uint32_t block : held_) {
    // Somebody is reading it: as recent as can be.
    Touch(block, now_ms);
    Offer(block);
  }
  for (uint32_t block : retired_) {
    UnlinkParents(block);
    const uint32_t gpu = blocks_.twin(block);
    blocks_.Unpair(block);
    for (const uint32_t gone : {block, gpu}) {
      if (gone == kNoBlock) continue;
      blocks_.meta(gone).children = 0;  // orphans find a changed generation
      blocks_.Free(gone);
    }
    ++counters_.evicted_blocks;
  }
  return {static_cast<uint32_t>(retired_.size()),
          static_cast<uint32_t>(held_.size())};
}

void NamespaceCore::Touch(uint32_t block, uint64_t now_ms) {
  blocks_.meta(block).last_use_ms = static_cast<uint32_t>(now_ms);
  const uint32_t twin = blocks_.twin(block);
  if (twin == kNoBlock) return;
  blocks_.meta(twin).last_use_ms = static_cast<uint32_t>(now_ms);
}

void NamespaceCore::SweepTouches(uint64_t now_ms) {
  touches_swept_ms_ = now_ms;
  for (auto& [id, session] : sessions_) SweepTouches(session, now_ms);
}

void NamespaceCore::SweepTouches(Session& session, uint64_t now_ms) {
  const uint64_t tail =
      session.memory.header->touch_tail.load(std::memory_order_acquire);
  // The tail may say anything; what lies further back than the ring is gone.
  const uint64_t fresh =
      std::min<uint64_t>(tail - session.touches_swept, protocol::kTouchRecords);
  for (uint64_t i = tail - fresh; i != tail; ++i) {
    const protocol::TouchRecord& touch =
        session.memory.touches[i % protocol::kTouchRecords];
    const auto hit = protocol::UnpackResidence(
        touch.deepest_hit.load(std::memory_order_relaxed));
    if (hit.block >= blocks_.capacity() || hit.generation == 0 ||
        !OwnsLive(hit.block, hit.generation)) {
      continue;
    }
    // Only the deepest block: its ancestors inherit when it leaves
    // (UnlinkParent), and none of them is evicted before.
    Touch(hit.block, now_ms);
    WishPromotion(session, hit.block);
  }
  session.touches_swept = tail;
}

}  // namespace kvferry::core
