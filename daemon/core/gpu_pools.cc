// GPU pools as a whole: made, come, go, counted. write_behind.cc and
// promotion.cc have what happens in them.

#include <algorithm>
#include <atomic>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::BlockState;
using protocol::kNoBlock;

namespace {

uint32_t ShareOf(double share, uint32_t blocks) {
  return std::min(blocks, static_cast<uint32_t>(share * blocks));
}

}  // namespace

void NamespaceCore::MakePools() {
  const std::vector<protocol::GpuPoolPlan>& plans = config_.geometry.gpu_pools;
  KVFERRY_CHECK(plans.size() <= protocol::kGpuPoolsMax);
  header_->gpu_pool_count = static_cast<uint32_t>(plans.size());
  std::map<uint32_t, uint64_t> largest;  // block, by device
  for (uint32_t p = 0; p < plans.size(); ++p) {
    const protocol::GpuPoolPlan& plan = plans[p];
    protocol::GpuPoolRecord& record = header_->gpu_pools[p];
    std::memcpy(record.device_uuid, plan.device_uuid.data(),
                plan.device_uuid.size());
    record.group = plan.group;
    record.device = plan.device;
    record.first_block = plan.first_block;
    record.block_count = plan.block_count;
    const uint32_t high = ShareOf(config_.gpu.high_watermark, plan.block_count);
    pools_.push_back(
        {.number = p + 1,
         .device = plan.device,
         .group = plan.group,
         .area = static_cast<uint32_t>(groups_.size()) + p,
         .high_blocks = high,
         .low_blocks = std::min(
             high, ShareOf(config_.gpu.low_watermark, plan.block_count))});
    uint64_t& block_bytes = largest[plan.device];
    block_bytes =
        std::max(block_bytes, config_.geometry.groups[plan.group].stride_bytes);
  }
  for (const auto& [device, block_bytes] : largest) {
    budgets_.try_emplace(device, config_.gpu.promotion_bytes_per_second,
                         block_bytes);
  }
}

void NamespaceCore::PoolUp(uint32_t number, uint64_t now_ms) {
  GpuPool& pool = pools_[number - 1];
  KVFERRY_CHECK(!pool.up);
  pool.up = true;
  blocks_.SetMemory(pool.area, /*there=*/true);
  areas_[pool.area].dry_until_ms = 0;
  header_->gpu_pools[number - 1].incarnation.fetch_add(
      1, std::memory_order_release);
  for (auto& [id, session] : sessions_) TopUp(id, session, now_ms);
}

void NamespaceCore::PoolDown(uint32_t number, uint64_t now_ms) {
  GpuPool& pool = pools_[number - 1];
  if (!pool.up) return;
  // First: who has copied out of that memory reads this before it believes the
  // bytes, and who has written into it before it says so.
  header_->gpu_pools[number - 1].incarnation.fetch_add(
      1, std::memory_order_seq_cst);
  pool.up = false;
  blocks_.SetMemory(pool.area, /*there=*/false);
  AbortPublishing(pool, now_ms);
  ForgetCopies(pool, now_ms);
  std::vector<uint32_t> left;
  if (!IsMutant(Mutant::kPoolDownKeepsResidences)) {
    ForgetResidences(pool, &left);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // as in Clear
  for (uint32_t block : left) LetGo(block);
  VoidGrants(pool);
  EndFinished(now_ms);
}

void NamespaceCore::AbortPublishing(const GpuPool& pool, uint64_t now_ms) {
  // Standbys first: none shall take the place of what is aborted after them.
  for (const EntryState state : {EntryState::kStandby, EntryState::kWriting}) {
    for (auto& [identity, publication] : publications_) {
      for (PublicationEntry& entry : publication->entries) {
        if (entry.state != state || blocks_.area_of(entry.block) != pool.area) {
          continue;
        }
        GiveUp(*publication, entry, now_ms);
        SettleAborted(entry);
      }
    }
  }
}

void NamespaceCore::ForgetCopies(const GpuPool& pool, uint64_t now_ms) {
  for (const CopyQueue::Entry& entry : copies_.ForgetPool(pool.number)) {
    EndCopying(entry.order);
    // The device may still be writing host memory for a worker that is gone.
    if (entry.taken && entry.order.to_host) {
      Rest(entry.order.host_block, now_ms);
    }
  }
}

void NamespaceCore::ForgetResidences(GpuPool& pool,
                                     std::vector<uint32_t>* left) {
  const protocol::GpuPoolPlan& plan =
      config_.geometry.gpu_pools[pool.number - 1];
  for (uint32_t i = 0; i < plan.block_count; ++i) {
    const uint32_t block = plan.first_block + i;
    const uint32_t host = blocks_.twin(block);
    if (host == kNoBlock) continue;  // no key's
    if (blocks_.state(host) != BlockState::kReady) {
      TakeOut(host, left);
      ++pool.lost;
      continue;
    }
    BlockMeta& meta = blocks_.meta(block);
    if (meta.slot != kNoSlot) index_.SetGpu(meta.slot, 0);
    meta.slot = kNoSlot;
    meta.parent = kNoBlock;
    meta.children = 0;
    blocks_.Unpair(block);
    left->push_back(block);
    Offer(host);  // it may have been on its way to the pool
  }
}

void NamespaceCore::VoidGrants(const GpuPool& pool) {
  for (auto& [id, session] : sessions_) {
    if (session.grants.empty()) continue;
    Grants& grants = session.grants[pool.area];
    if (grants.blocks.empty()) continue;
    grants.stale = grants.blocks;
    grants.recalled = false;
    Recall(id, session, pool.area);
  }
}

std::vector<uint32_t> NamespaceCore::UpPoolsOf(uint32_t device) const {
  std::vector<uint32_t> numbers;
  for (const GpuPool& pool : pools_) {
    if (pool.up && pool.device == device) numbers.push_back(pool.number);
  }
  return numbers;
}

absl::Status NamespaceCore::SetSessionGpu(uint16_t id, uint32_t device) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no session ", id));
  }
  std::optional<uint32_t>& opened = found->second.gpu_device;
  if (opened.has_value() && *opened != device) {
    return absl::AlreadyExistsError(
        absl::StrCat("session ", id, " has opened device ", *opened,
                     ", and cannot open device ", device, ", too"));
  }
  opened = device;
  return absl::OkStatus();
}

GroupCounts NamespaceCore::counts(uint32_t group) const {
  GroupCounts counts = blocks_.counts(group);
  const protocol::GroupRecord& record = config_.geometry.groups[group];
  counts.resting = resting_.Count(record.first_block, record.block_count);
  return counts;
}

GpuPoolCounts NamespaceCore::gpu_counts(uint32_t number) const {
  const GpuPool& pool = pools_[number - 1];
  const protocol::GpuPoolPlan& plan = config_.geometry.gpu_pools[number - 1];
  const GroupCounts& blocks = blocks_.counts(pool.area);
  GpuPoolCounts counts;
  counts.up = pool.up;
  counts.capacity = blocks.capacity;
  counts.absent = blocks.absent;
  counts.free = blocks.free;
  counts.granted = blocks.granted;
  counts.publishing = blocks.publishing;
  counts.ready = blocks.ready;
  counts.in_io = blocks.in_io;
  counts.quarantined = blocks.quarantined;
  counts.resting = resting_.Count(plan.first_block, plan.block_count);
  for (uint32_t i = 0; i < plan.block_count; ++i) {
    const uint32_t host = blocks_.twin(plan.first_block + i);
    if (host != kNoBlock && blocks_.state(host) == BlockState::kInIo) {
      ++counts.not_clean;
    }
  }
  counts.high_blocks = pool.high_blocks;
  counts.low_blocks = pool.low_blocks;
  counts.written_behind = pool.written_behind;
  counts.dropped = pool.dropped;
  counts.promoted = pool.promoted;
  counts.spilled = pool.spilled;
  counts.lost = pool.lost;
  return counts;
}

}  // namespace kvferry::core
