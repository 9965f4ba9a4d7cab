// Which block continues which, and where keys stand in the index.

#include "base/check.h"
#include "daemon/core/namespace_core.h"

namespace kvferry::core {

using protocol::kNoBlock;
using protocol::ResidenceState;
using protocol::UnpackResidence;

uint32_t NamespaceCore::HostBlockAt(uint32_t slot) const {
  const uint64_t host = index_.host(slot);
  return blocks_.host_of(
      UnpackResidence(host != 0 ? host : index_.gpu(slot)).block);
}

bool NamespaceCore::PendingAt(uint32_t slot) const {
  const uint64_t host = index_.host(slot);
  return UnpackResidence(host != 0 ? host : index_.gpu(slot)).state ==
         ResidenceState::kPending;
}

void NamespaceCore::SetSlot(uint32_t block, uint32_t slot, uint64_t now_ms) {
  blocks_.meta(block).slot = slot;
  const uint32_t twin = blocks_.twin(block);
  if (twin != kNoBlock) blocks_.meta(twin).slot = slot;
  Touch(block, now_ms);
}

void NamespaceCore::LinkParent(uint32_t block, const BlockKey& parent) {
  BlockMeta& meta = blocks_.meta(block);
  meta.parent = kNoBlock;
  meta.children = 0;
  if (parent.is_none()) return;
  const uint32_t slot = index_.Find(parent);
  if (slot == kNoSlot) return;
  uint32_t above = HostBlockAt(slot);
  if (blocks_.in_gpu(block)) {
    // A prefix may lie partly in the pool.
    above = blocks_.twin(above);
    if (above == kNoBlock || blocks_.meta(above).slot == kNoSlot ||
        blocks_.area_of(above) != blocks_.area_of(block)) {
      return;
    }
  }
  meta.parent = above;
  meta.parent_generation = blocks_.generation(above);
  ++blocks_.meta(above).children;
}

void NamespaceCore::LinkParents(uint32_t block, const BlockKey& parent) {
  LinkParent(block, parent);
  const uint32_t twin = blocks_.twin(block);
  if (twin != kNoBlock) LinkParent(twin, parent);
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
  Offer(parent);
}

void NamespaceCore::UnlinkParents(uint32_t block) {
  UnlinkParent(block);
  const uint32_t twin = blocks_.twin(block);
  if (twin != kNoBlock) UnlinkParent(twin);
}

void NamespaceCore::TakeOut(uint32_t host_block, std::vector<uint32_t>* left) {
  const uint32_t slot = blocks_.meta(host_block).slot;
  const protocol::PublicationRef publication =
      protocol::UnpackPublicationRef(index_.aux(slot));
  index_.Erase(slot);
  // Somebody may have been waiting for it to come to host memory.
  if (blocks_.state(host_block) == protocol::BlockState::kInIo) {
    directory_.ChangedLate(publication);
  }
  UnlinkParents(host_block);
  const uint32_t gpu_block = blocks_.twin(host_block);
  blocks_.Unpair(host_block);
  for (const uint32_t block : {host_block, gpu_block}) {
    if (block == kNoBlock) continue;
    BlockMeta& meta = blocks_.meta(block);
    meta.slot = kNoSlot;
    meta.children = 0;  // orphans find a generation that changed
    left->push_back(block);
  }
}

}  // namespace kvferry::core
