// Making room: eviction, grants, recency, the prefix tree.

#include <algorithm>

#include "base/check.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::kNoBlock;
using protocol::ReplyRecord;
using protocol::ReplyType;

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
// Quarantined blocks looked at in one go.
constexpr size_t kQuarantineSweep = 4096;

}  // namespace

uint32_t NamespaceCore::TakeFree(uint32_t group, uint16_t owner,
                                 uint64_t now_ms) {
  if (blocks_.free_count(group) == 0) {
    const uint32_t batch = std::clamp(
        config_.geometry.groups[group].block_count / 64, 1u, kEvictBatch);
    MakeRoom(group, batch, now_ms);
  }
  const uint32_t block = blocks_.Grant(group, owner);
  if (block == kNoBlock) groups_[group].wants_recall = true;
  return block;
}

void NamespaceCore::MakeRoom(uint32_t g, uint32_t want, uint64_t now_ms) {
  if (touches_swept_ms_ != now_ms) SweepTouches(now_ms);
  Group& group = groups_[g];
  uint32_t budget = now_ms < group.dry_until_ms ? kEvictScanDry : kEvictScanMax;
  bool evicted = false;
  while (blocks_.free_count(g) < want && budget > 0) {
    const uint32_t missing = want - blocks_.free_count(g);
    victims_.clear();
    // Until a block that these leave behind as a tail would be colder than the
    // next: one batch must not take the tail of every prefix, new ones too.
    uint32_t warmest = static_cast<uint32_t>(now_ms);
    while (victims_.size() < missing) {
      const uint32_t block = group.evictable.Pop(&budget);
      if (block == kNoBlock) break;
      const BlockMeta& meta = blocks_.meta(block);
      if (!victims_.empty() &&
          static_cast<int32_t>(meta.last_use_ms - warmest) > 0) {
        group.evictable.Offer(block);
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
    const EvictCounts counts = EvictBlocks(victims_, now_ms);
    evicted = evicted || counts.evicted > 0;
    // Looks that led to a block are free, so that want alone bounds those.
    budget += counts.evicted;
  }
  if (!evicted && blocks_.free_count(g) == 0) {
    if (now_ms >= group.dry_until_ms) group.dry_until_ms = now_ms + kDryMs;
  } else {
    group.dry_until_ms = 0;
  }
}

EvictCounts NamespaceCore::EvictBlocks(std::span<const uint32_t> victims,
                                       uint64_t now_ms) {
  retired_.clear();
  held_.clear();
  retirer_.Retire(victims, &retired_, &held_);
  for (uint32_t block : held_) {
    // Somebody is reading it: as recent as can be.
    blocks_.meta(block).last_use_ms = static_cast<uint32_t>(now_ms);
    groups_[blocks_.group_of(block)].evictable.Offer(block);
  }
  for (uint32_t block : retired_) {
    UnlinkParent(block);
    blocks_.meta(block).children = 0;  // orphans find a generation that changed
    blocks_.Free(block);
    ++counters_.evicted_blocks;
  }
  return {static_cast<uint32_t>(retired_.size()),
          static_cast<uint32_t>(held_.size())};
}

void NamespaceCore::RecallWanted() {
  for (uint32_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].wants_recall) continue;
    groups_[g].wants_recall = false;
    Recall(g);
  }
}

void NamespaceCore::Recall(uint32_t group) {
  for (auto& [id, session] : sessions_) {
    if (session.grants.size() <= group) continue;
    GroupGrants& grants = session.grants[group];
    if (grants.recalled || grants.blocks.empty()) continue;
    // The room that its next run's answers may need is not for this.
    if (session.sink->Room() <= protocol::kBlocksPerRunMax) continue;
    ReplyRecord record{};
    record.type = static_cast<uint8_t>(ReplyType::kRecall);
    record.group = static_cast<uint8_t>(group);
    record.count = static_cast<uint32_t>(grants.blocks.size());
    session.sink->Push(record);
    grants.recalled = true;
    pokes_.push_back(id);
  }
}

void NamespaceCore::TopUp(uint16_t id, Session& session, uint64_t now_ms) {
  if (session.handles.empty() || session.revoked) return;
  for (uint32_t g = 0; g < session.grants.size(); ++g) {
    GroupGrants& grants = session.grants[g];
    const uint32_t target = groups_[g].grant_target;
    // Below half, so that grants travel in full records.
    if (grants.recalled || grants.blocks.size() >= (target + 1) / 2) continue;
    const auto missing = target - static_cast<uint32_t>(grants.blocks.size());
    if (blocks_.free_count(g) < missing && now_ms >= groups_[g].dry_until_ms) {
      MakeRoom(g, missing, now_ms);
    }
    uint32_t left = std::min(missing, blocks_.free_count(g));
    while (left > 0 && session.sink->Room() > protocol::kBlocksPerRunMax) {
      ReplyRecord record{};
      record.type = static_cast<uint8_t>(ReplyType::kGrant);
      record.group = static_cast<uint8_t>(g);
      while (left > 0 && record.count < protocol::kBlocksPerReply) {
        const uint32_t block = blocks_.Grant(g, id);
        KVFERRY_CHECK(block != kNoBlock);
        grants.blocks.insert(block);
        record.blocks[record.count++] = block;
        --left;
      }
      session.sink->Push(record);
    }
  }
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
    blocks_.meta(hit.block).last_use_ms = static_cast<uint32_t>(now_ms);
  }
  session.touches_swept = tail;
}

void NamespaceCore::SweepQuarantine() {
  for (size_t looks = std::min(held_quarantined_.size(), kQuarantineSweep);
       looks > 0; --looks) {
    if (quarantine_cursor_ >= held_quarantined_.size()) quarantine_cursor_ = 0;
    uint32_t& block = held_quarantined_[quarantine_cursor_];
    if (retirer_.Held(block)) {
      ++quarantine_cursor_;
      continue;
    }
    blocks_.Free(block);
    block = held_quarantined_.back();
    held_quarantined_.pop_back();
  }
}

void NamespaceCore::LinkParent(uint32_t block, const BlockKey& parent) {
  BlockMeta& meta = blocks_.meta(block);
  meta.parent = kNoBlock;
  meta.children = 0;
  if (parent.is_none()) return;
  const uint32_t slot = index_.Find(parent);
  if (slot == kNoSlot) return;
  meta.parent = protocol::UnpackResidence(index_.host(slot)).block;
  meta.parent_generation = blocks_.generation(meta.parent);
  ++blocks_.meta(meta.parent).children;
}

void NamespaceCore::UnlinkParent(uint32_t block) {
  BlockMeta& meta = blocks_.meta(block);
  const uint32_t parent = meta.parent;
  meta.parent = kNoBlock;
  if (parent == kNoBlock || !OwnsLive(parent, meta.parent_generation)) return;
  BlockMeta& above = blocks_.meta(parent);
  KVFERRY_CHECK(above.children > 0);
  --above.children;
  // Whoever used the child used its prefix.
  if (static_cast<int32_t>(meta.last_use_ms - above.last_use_ms) > 0) {
    above.last_use_ms = meta.last_use_ms;
  }
  groups_[blocks_.group_of(parent)].evictable.Offer(parent);
}

}  // namespace kvferry::core
