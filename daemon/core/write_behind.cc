// From GPU memory to the host's, and out of GPU memory: copies behind what is
// published there, and the drop of residences that have one.

#include <atomic>

#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"

namespace kvferry::core {

using protocol::kNoBlock;
using protocol::ResidenceState;

namespace {

// A pool whose blocks are all held, or not clean, is not looked through by
// every completion.
constexpr uint64_t kPoolDryMs = 10;

}  // namespace

void NamespaceCore::OrderCopy(uint32_t gpu_block, uint32_t host_block,
                              bool to_host, uint32_t failures) {
  if (to_host && IsMutant(Mutant::kDropsUncleanBlock)) {
    Offer(gpu_block);
  } else {
    blocks_.meta(gpu_block).copying = true;
    blocks_.meta(host_block).copying = true;
  }
  copies_.Add({.pool = PoolOf(gpu_block).number,
               .gpu_block = gpu_block,
               .host_block = host_block,
               .to_host = to_host},
              failures);
  if (to_host && IsMutant(Mutant::kWriteBehindReadyTooSoon)) {
    MakeHostReady(host_block);
  }
}

void NamespaceCore::EndCopying(const CopyOrder& order) {
  blocks_.meta(order.gpu_block).copying = false;
  blocks_.meta(order.host_block).copying = false;
}

void NamespaceCore::TakeCopies(uint32_t device, size_t room,
                               std::vector<CopyOrder>* out) {
  // Asked at every turn of the control loop.
  if (copies_.entries().empty()) return;
  copies_.Take(UpPoolsOf(device), room, out);
}

size_t NamespaceCore::copies_waiting(uint32_t device) const {
  size_t waiting = 0;
  for (const uint32_t pool : UpPoolsOf(device)) {
    waiting += copies_.waiting(pool);
  }
  return waiting;
}

void NamespaceCore::CopyDone(uint64_t id, bool ok, uint64_t now_ms) {
  const std::optional<CopyQueue::Entry> entry = copies_.Finish(id);
  if (!entry.has_value()) return;
  const CopyOrder& order = entry->order;
  EndCopying(order);
  // Cleared meanwhile: both are quarantined, and no longer on account of this.
  if (blocks_.twin(order.gpu_block) != order.host_block) return;
  if (order.to_host) {
    EndWriteBehind(*entry, ok);
  } else {
    EndPromotion(order, ok);
  }
  const GpuPool& pool = PoolOf(order.gpu_block);
  if (now_ms >= areas_[pool.area].dry_until_ms) KeepWatermark(pool, now_ms);
}

void NamespaceCore::EndWriteBehind(const CopyQueue::Entry& entry, bool ok) {
  const uint32_t gpu = entry.order.gpu_block;
  const uint32_t host = entry.order.host_block;
  if (ok) {
    ++PoolOf(gpu).written_behind;
    MakeHostReady(host);
    return;
  }
  if (entry.failures == 0) {
    OrderCopy(gpu, host, /*to_host=*/true, 1);
    return;
  }
  // A key whose bytes may never be dropped is worth less than none.
  std::vector<uint32_t> left;
  TakeOut(host, &left);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // as in Clear
  for (uint32_t block : left) LetGo(block);
  ++PoolOf(gpu).lost;
}

void NamespaceCore::MakeHostReady(uint32_t host_block) {
  if (blocks_.state(host_block) == protocol::BlockState::kInIo) {
    blocks_.EndIo(host_block);
  }
  const uint32_t slot = blocks_.meta(host_block).slot;
  // Release: the copy's bytes were there before its completion was.
  index_.SetHost(slot, blocks_.Residence(host_block, ResidenceState::kReady));
  // Who cannot read GPU memory has been waiting for this.
  directory_.ChangedLate(protocol::UnpackPublicationRef(index_.aux(slot)));
  Offer(host_block);
  Offer(blocks_.twin(host_block));
}

EvictCounts NamespaceCore::DropBlocks(std::span<const uint32_t> victims,
                                      uint64_t now_ms) {
  retired_.clear();
  held_.clear();
  retirer_.Drop(victims, &retired_, &held_);
  for (uint32_t block : held_) {
    Touch(block, now_ms);
    Offer(block);
  }
  for (uint32_t block : retired_) {
    UnlinkParent(block);
    blocks_.meta(block).children = 0;
    blocks_.Unpair(block);
    blocks_.Free(block);
    ++PoolOf(block).dropped;
  }
  return {static_cast<uint32_t>(retired_.size()),
          static_cast<uint32_t>(held_.size())};
}

void NamespaceCore::KeepWatermark(const GpuPool& pool, uint64_t now_ms) {
  if (!pool.up) return;
  const uint32_t there =
      blocks_.counts(pool.area).capacity - blocks_.counts(pool.area).absent;
  const auto used = [&] { return there - blocks_.free_count(pool.area); };
  if (used() <= pool.high_blocks || there <= pool.low_blocks) return;
  MakeRoom(pool.area, there - pool.low_blocks, now_ms);
  if (used() > pool.high_blocks) {
    areas_[pool.area].dry_until_ms = now_ms + kPoolDryMs;
  }
}

}  // namespace kvferry::core
