// From host memory to a GPU's, on account of use.

#include <algorithm>

#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::BlockState;
using protocol::kNoBlock;
using protocol::ResidenceState;

namespace {

// Touches between two ticks that may each promote a chain, and the blocks that
// are looked at for all of them.
constexpr size_t kWishesMax = 64;
constexpr uint32_t kLooksMax = 2 * protocol::kKeysPerCallMax;

}  // namespace

void NamespaceCore::WishPromotion(const Session& session, uint32_t block) {
  if (!session.gpu_device.has_value() || blocks_.in_gpu(block) ||
      blocks_.twin(block) != kNoBlock || wishes_.size() >= kWishesMax ||
      config_.gpu.promotion_bytes_per_second == 0) {
    return;
  }
  const uint32_t group = blocks_.group_of(block);
  for (const GpuPool& pool : pools_) {
    if (!pool.up || pool.group != group || pool.device != session.gpu_device) {
      continue;
    }
    wishes_.push_back({pool.number, block, blocks_.generation(block)});
    return;
  }
}

void NamespaceCore::StartPromotions(uint64_t now_ms) {
  uint32_t looks = kLooksMax;
  for (const PromotionWish& wish : wishes_) {
    const GpuPool& pool = pools_[wish.pool - 1];
    if (!pool.up || !OwnsLive(wish.block, wish.generation)) continue;
    PromoteChain(pool, wish.block, now_ms, &looks);
  }
  wishes_.clear();
}

void NamespaceCore::PromoteChain(const GpuPool& pool, uint32_t block,
                                 uint64_t now_ms, uint32_t* looks) {
  const uint32_t last_use_ms = blocks_.meta(block).last_use_ms;
  std::vector<uint32_t> chain;  // from the hit to the front
  for (uint32_t at = block;;) {
    // The front comes first or nothing does.
    if (*looks == 0) return;
    --*looks;
    const uint32_t gpu = blocks_.twin(at);
    if (gpu != kNoBlock) {
      // In a pool, or on its way to one: what continues it is used, so is it.
      uint32_t& last_ms = blocks_.meta(gpu).last_use_ms;
      if (static_cast<int32_t>(last_use_ms - last_ms) > 0) {
        last_ms = last_use_ms;
      }
      break;
    }
    if (blocks_.state(at) != BlockState::kReady) break;
    chain.push_back(at);
    const BlockMeta& meta = blocks_.meta(at);
    if (meta.parent == kNoBlock ||
        !OwnsLive(meta.parent, meta.parent_generation)) {
      break;
    }
    at = meta.parent;
  }
  // The front is what every longer prompt begins with.
  std::reverse(chain.begin(), chain.end());
  for (const uint32_t at : chain) {
    if (!PromoteBlock(pool, at, last_use_ms, now_ms)) return;
  }
}

bool NamespaceCore::PromoteBlock(const GpuPool& pool, uint32_t block,
                                 uint32_t colder_than_ms, uint64_t now_ms) {
  const uint64_t bytes = config_.geometry.groups[pool.group].stride_bytes;
  PromotionBudget& budget = budgets_.at(pool.device);
  if (!budget.Take(bytes, now_ms)) return false;
  if (blocks_.free_count(pool.area) == 0) {
    MakeRoom(pool.area, BatchOf(pool.area), now_ms, colder_than_ms);
  }
  const uint32_t gpu = blocks_.TakeForIo(pool.area);
  if (gpu == kNoBlock) {
    budget.GiveBack(bytes);
    return false;
  }
  blocks_.SetValidTokens(gpu, blocks_.valid_tokens(block));
  BlockMeta& meta = blocks_.meta(gpu);
  meta.parent = kNoBlock;
  meta.children = 0;
  blocks_.Pair(block, gpu);
  OrderCopy(gpu, block, /*to_host=*/false);
  if (IsMutant(Mutant::kPromotionReadyTooSoon)) MakeGpuReady(gpu);
  return true;
}

void NamespaceCore::EndPromotion(const CopyOrder& order, bool ok) {
  if (ok) {
    ++PoolOf(order.gpu_block).promoted;
    MakeGpuReady(order.gpu_block);
  } else {
    blocks_.Unpair(order.gpu_block);
    LetGo(order.gpu_block);
  }
  Offer(order.host_block);
}

void NamespaceCore::MakeGpuReady(uint32_t gpu_block) {
  if (blocks_.state(gpu_block) == BlockState::kInIo) blocks_.EndIo(gpu_block);
  const BlockMeta& host = blocks_.meta(blocks_.twin(gpu_block));
  BlockMeta& meta = blocks_.meta(gpu_block);
  meta.last_use_ms = host.last_use_ms;
  if (meta.slot == kNoSlot) {
    // What continues it and came sooner is not found by this: the two are
    // dropped in any order.
    BlockKey parent;
    if (host.parent != kNoBlock &&
        OwnsLive(host.parent, host.parent_generation)) {
      parent = index_.key(blocks_.meta(host.parent).slot);
    }
    LinkParent(gpu_block, parent);
  }
  meta.slot = host.slot;
  index_.SetGpu(meta.slot,
                blocks_.Residence(gpu_block, ResidenceState::kReady));
  Offer(gpu_block);
}

}  // namespace kvferry::core
