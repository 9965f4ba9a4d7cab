#include "daemon/core/block_table.h"

#include <algorithm>

#include "base/check.h"

namespace kvferry::core {

using protocol::BlockState;
using protocol::BlockStateWord;
using protocol::kNoBlock;
using protocol::kNoOwner;

BlockTable::BlockTable(const protocol::Geometry& geometry,
                       protocol::BlockStateRecord* records)
    : records_(records),
      host_blocks_(geometry.host_blocks),
      metas_(geometry.block_capacity) {
  for (uint32_t g = 0; g < geometry.groups.size(); ++g) {
    const protocol::GroupRecord& group = geometry.groups[g];
    AddArea(g, group.first_block, group.block_count, /*there=*/true);
  }
  for (const protocol::GpuPoolPlan& pool : geometry.gpu_pools) {
    AddArea(pool.group, pool.first_block, pool.block_count, /*there=*/false);
  }
  if (!geometry.gpu_pools.empty()) {
    twins_.resize(geometry.block_capacity, kNoBlock);
  }
}

void BlockTable::AddArea(uint32_t group, uint32_t first_block,
                         uint32_t block_count, bool there) {
  area_ends_.push_back(first_block + block_count);
  area_groups_.push_back(group);
  area_there_.push_back(there);
  counts_.push_back({.capacity = block_count, .absent = block_count});
  free_.emplace_back();
  free_.back().reserve(block_count);
}

uint32_t BlockTable::area_of(uint32_t block) const {
  return static_cast<uint32_t>(
      std::upper_bound(area_ends_.begin(), area_ends_.end(), block) -
      area_ends_.begin());
}

uint32_t& BlockTable::CountOf(uint32_t area, BlockState state) {
  GroupCounts& counts = counts_[area];
  switch (state) {
    case BlockState::kAbsent:
      return counts.absent;
    case BlockState::kFree:
      return counts.free;
    case BlockState::kGranted:
      return counts.granted;
    case BlockState::kPublishing:
      return counts.publishing;
    case BlockState::kReady:
      return counts.ready;
    case BlockState::kInIo:
      return counts.in_io;
    case BlockState::kQuarantined:
      return counts.quarantined;
  }
  KVFERRY_CHECK(false && "a block state of ours is out of range");
}

void BlockTable::Move(uint32_t block, BlockStateWord to) {
  const uint32_t area = area_of(block);
  --CountOf(area, state(block));
  ++CountOf(area, to.state);
  records_[block].word.store(protocol::PackBlockState(to),
                             std::memory_order_release);
}

void BlockTable::Add(uint32_t first, uint32_t count) {
  const uint32_t area = area_of(first);
  // Pushed from the last to the first, so that they are taken in order.
  for (uint32_t block = first + count; block-- > first;) {
    KVFERRY_CHECK(state(block) == BlockState::kAbsent);
    Move(block, {BlockState::kFree, kNoOwner, 0});
    free_[area].push_back(block);
  }
}

void BlockTable::SetMemory(uint32_t area, bool there) {
  const uint32_t first = area_ends_[area - 1];
  area_there_[area] = there;
  free_[area].clear();
  const BlockState from = there ? BlockState::kAbsent : BlockState::kFree;
  const BlockState to = there ? BlockState::kFree : BlockState::kAbsent;
  for (uint32_t block = area_ends_[area]; block-- > first;) {
    if (state(block) != from) continue;
    Move(block, {to, kNoOwner, generation(block)});
    if (there) free_[area].push_back(block);
  }
}

uint32_t BlockTable::Grant(uint32_t area, uint16_t owner) {
  if (free_[area].empty()) return kNoBlock;
  const uint32_t block = free_[area].back();
  free_[area].pop_back();
  Move(block, {BlockState::kGranted, owner, generation(block)});
  return block;
}

uint32_t BlockTable::NextGeneration(uint32_t block) const {
  const uint32_t next = generation(block) + 1;
  return next == 0 ? 1 : next;
}

void BlockTable::Publish(uint32_t block, uint16_t owner) {
  KVFERRY_CHECK(state(block) == BlockState::kGranted);
  Move(block, {BlockState::kPublishing, owner, NextGeneration(block)});
}

uint32_t BlockTable::TakeForIo(uint32_t area) {
  if (free_[area].empty()) return kNoBlock;
  const uint32_t block = free_[area].back();
  free_[area].pop_back();
  Move(block, {BlockState::kInIo, kNoOwner, NextGeneration(block)});
  return block;
}

void BlockTable::BeginIo(uint32_t block) {
  KVFERRY_CHECK(state(block) == BlockState::kPublishing);
  Move(block, {BlockState::kInIo, kNoOwner, generation(block)});
}

void BlockTable::EndIo(uint32_t block) {
  KVFERRY_CHECK(state(block) == BlockState::kInIo);
  Move(block, {BlockState::kReady, kNoOwner, generation(block)});
}

void BlockTable::SetValidTokens(uint32_t block, uint32_t valid_tokens) {
  records_[block].content.store(valid_tokens, std::memory_order_release);
}

uint32_t BlockTable::valid_tokens(uint32_t block) const {
  return static_cast<uint32_t>(
      records_[block].content.load(std::memory_order_relaxed));
}

void BlockTable::MakeReady(uint32_t block) {
  KVFERRY_CHECK(state(block) == BlockState::kPublishing);
  Move(block, {BlockState::kReady, kNoOwner, generation(block)});
}

void BlockTable::Quarantine(uint32_t block) {
  const BlockState from = state(block);
  KVFERRY_CHECK(from == BlockState::kGranted ||
                from == BlockState::kPublishing || from == BlockState::kReady ||
                from == BlockState::kInIo);
  Move(block, {BlockState::kQuarantined, owner(block), generation(block)});
}

void BlockTable::Free(uint32_t block) {
  const BlockState from = state(block);
  KVFERRY_CHECK(from == BlockState::kGranted || from == BlockState::kReady ||
                from == BlockState::kInIo || from == BlockState::kQuarantined);
  KVFERRY_CHECK(metas_[block].slot == kNoSlot && !metas_[block].copying);
  KVFERRY_CHECK(twin(block) == kNoBlock);
  const uint32_t area = area_of(block);
  const bool there = area_there_[area];
  Move(block, {there ? BlockState::kFree : BlockState::kAbsent, kNoOwner,
               generation(block)});
  if (there) free_[area].push_back(block);
}

void BlockTable::Pair(uint32_t host_block, uint32_t gpu_block) {
  KVFERRY_CHECK(twin(host_block) == kNoBlock && twin(gpu_block) == kNoBlock);
  twins_[host_block] = gpu_block;
  twins_[gpu_block] = host_block;
}

void BlockTable::Unpair(uint32_t block) {
  const uint32_t other = twin(block);
  if (other == kNoBlock) return;
  twins_[block] = kNoBlock;
  twins_[other] = kNoBlock;
}

}  // namespace kvferry::core
