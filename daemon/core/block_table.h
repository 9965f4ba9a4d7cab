#ifndef KVFERRY_DAEMON_CORE_BLOCK_TABLE_H_
#define KVFERRY_DAEMON_CORE_BLOCK_TABLE_H_

#include <cstdint>
#include <vector>

#include "daemon/core/index_writer.h"
#include "protocol/geometry.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// How many blocks of a group are in each state.
struct GroupCounts {
  uint32_t capacity = 0;
  uint32_t absent = 0;
  uint32_t free = 0;
  uint32_t granted = 0;
  uint32_t publishing = 0;
  uint32_t ready = 0;
  uint32_t in_io = 0;
  uint32_t quarantined = 0;
};

// What only the daemon knows of a block.
struct BlockMeta {
  uint32_t slot = kNoSlot;  // in the index; kNoSlot: not visible
  uint32_t parent = protocol::kNoBlock;
  uint32_t parent_generation = 0;
  uint32_t children = 0;     // visible blocks whose parent this is
  uint32_t last_use_ms = 0;  // at least that of every child that was evicted
  bool queued = false;       // stands in the EvictionQueue
};

// The state of every block of a namespace: the shared records, written before
// the fact, and the daemon's own notes.
//
//   absent -> free -> granted -> publishing -> ready -> free
//                     granted -> free     (given back, or its session ended)
//                     publishing -> quarantined -> free   (aborted)
//                                   ready -> quarantined -> free  (cleared)
//
// INV-BLOCK-1  Every block is in exactly one state, and the counts of the
//              states add up to the group's capacity.
//   Made by    Move(), the only function that stores a state.
//   Tested     NamespaceCore::CheckInvariants in tests/sim
//
// Threads  one
class BlockTable {
 public:
  BlockTable(const protocol::Geometry& geometry,
             protocol::BlockStateRecord* records);

  // Blocks [first, first + count) of a segment are there now: absent -> free.
  void Add(uint32_t first, uint32_t count);

  // Takes a free block for `owner`: free -> granted. kNoBlock when there is
  // none.
  uint32_t Grant(uint32_t group, uint16_t owner);

  // granted -> publishing, under the next generation.
  void Publish(uint32_t block, uint16_t owner);
  // How many tokens of a block that is being published are valid; 0: all.
  void SetValidTokens(uint32_t block, uint32_t valid_tokens);
  uint32_t valid_tokens(uint32_t block) const;
  // publishing -> ready.
  void MakeReady(uint32_t block);
  // publishing or ready -> quarantined.
  void Quarantine(uint32_t block);
  // granted, ready or quarantined -> free.
  void Free(uint32_t block);

  protocol::BlockState state(uint32_t block) const { return word(block).state; }
  uint16_t owner(uint32_t block) const { return word(block).owner; }
  uint32_t generation(uint32_t block) const { return word(block).generation; }
  uint32_t group_of(uint32_t block) const;
  uint32_t free_count(uint32_t group) const {
    return static_cast<uint32_t>(free_[group].size());
  }
  const GroupCounts& counts(uint32_t group) const { return counts_[group]; }
  uint32_t capacity() const { return static_cast<uint32_t>(metas_.size()); }

  BlockMeta& meta(uint32_t block) { return metas_[block]; }
  const BlockMeta& meta(uint32_t block) const { return metas_[block]; }

  // The word that stands for the block in the index.
  uint64_t Residence(uint32_t block, protocol::ResidenceState state) const {
    return protocol::PackResidence({state, block, generation(block)});
  }

 private:
  protocol::BlockStateWord word(uint32_t block) const {
    return protocol::UnpackBlockState(
        records_[block].word.load(std::memory_order_relaxed));
  }
  void Move(uint32_t block, protocol::BlockStateWord to);
  uint32_t& CountOf(uint32_t group, protocol::BlockState state);

  protocol::BlockStateRecord* const records_;
  std::vector<uint32_t> group_ends_;  // one past the last block of each group
  std::vector<BlockMeta> metas_;
  std::vector<std::vector<uint32_t>> free_;  // last in, first out: warm
  std::vector<GroupCounts> counts_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_BLOCK_TABLE_H_
