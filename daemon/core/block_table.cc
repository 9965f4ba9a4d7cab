#include "daemon/core/block_table.h"

#include "base/check.h"

namespace kvferry::core {

using protocol::BlockState;
using protocol::BlockStateWord;
using protocol::kNoBlock;
using protocol::kNoOwner;

BlockTable::BlockTable(const protocol::Geometry& geometry,
                       protocol::BlockStateRecord* records)
    : records_(records), metas_(geometry.block_capacity) {
  for (const protocol::GroupRecord& group : geometry.groups) {
    group_ends_.push_back(group.first_block + group.block_count);
    counts_.push_back(
        {.capacity = group.block_count, .absent = group.block_count});
    free_.emplace_back();
    free_.back().reserve(group.block_count);
  }
}

uint32_t BlockTable::group_of(uint32_t block) const {
  uint32_t group = 0;
  while (block >= group_ends_[group]) ++group;
  return group;
}

uint32_t& BlockTable::CountOf(uint32_t group, BlockState state) {
  GroupCounts& counts = counts_[group];
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
  const uint32_t group = group_of(block);
  --CountOf(group, state(block));
  ++CountOf(group, to.state);
  records_[block].word.store(protocol::PackBlockState(to),
                             std::memory_order_release);
}

void BlockTable::Add(uint32_t first, uint32_t count) {
  const uint32_t group = group_of(first);
  // Pushed from the last to the first, so that they are taken in order.
  for (uint32_t block = first + count; block-- > first;) {
    KVFERRY_CHECK(state(block) == BlockState::kAbsent);
    Move(block, {BlockState::kFree, kNoOwner, 0});
    free_[group].push_back(block);
  }
}

uint32_t BlockTable::Grant(uint32_t group, uint16_t owner) {
  if (free_[group].empty()) return kNoBlock;
  const uint32_t block = free_[group].back();
  free_[group].pop_back();
  Move(block, {BlockState::kGranted, owner, generation(block)});
  return block;
}

void BlockTable::Publish(uint32_t block, uint16_t owner) {
  KVFERRY_CHECK(state(block) == BlockState::kGranted);
  uint32_t next = generation(block) + 1;
  if (next == 0) next = 1;
  Move(block, {BlockState::kPublishing, owner, next});
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
  KVFERRY_CHECK(from == BlockState::kPublishing || from == BlockState::kReady);
  Move(block, {BlockState::kQuarantined, owner(block), generation(block)});
}

void BlockTable::Free(uint32_t block) {
  const BlockState from = state(block);
  KVFERRY_CHECK(from == BlockState::kGranted || from == BlockState::kReady ||
                from == BlockState::kQuarantined);
  KVFERRY_CHECK(metas_[block].slot == kNoSlot);
  Move(block, {BlockState::kFree, kNoOwner, generation(block)});
  free_[group_of(block)].push_back(block);
}

}  // namespace kvferry::core
