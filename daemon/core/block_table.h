#ifndef KVFERRY_DAEMON_CORE_BLOCK_TABLE_H_
#define KVFERRY_DAEMON_CORE_BLOCK_TABLE_H_

#include <cstdint>
#include <vector>

#include "daemon/core/index_writer.h"
#include "protocol/geometry.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// How many blocks of an area are in each state.
struct GroupCounts {
  uint32_t capacity = 0;
  uint32_t absent = 0;
  uint32_t free = 0;
  uint32_t granted = 0;
  uint32_t publishing = 0;
  uint32_t ready = 0;
  uint32_t in_io = 0;
  uint32_t quarantined = 0;
  uint32_t resting = 0;  // of those quarantined
};

// What only the daemon knows of a block.
struct BlockMeta {
  uint32_t slot = kNoSlot;  // in the index; kNoSlot: not visible
  uint32_t parent = protocol::kNoBlock;
  uint32_t parent_generation = 0;
  uint32_t children = 0;     // visible blocks whose parent this is
  uint32_t last_use_ms = 0;  // at least that of every child that was evicted
  bool queued = false;       // stands in the EvictionQueue
  bool copying = false;      // a CopyOrder names it: neither goes before it
};

static_assert(sizeof(BlockMeta) == 24, "every block has one");

// The state of every block of a namespace: the shared records, written before
// the fact, and the daemon's own notes.
//
//   absent -> free -> granted -> publishing -> ready -> free
//                     granted -> free     (given back, or its session ended)
//                     publishing -> quarantined -> free   (aborted)
//                                   ready -> quarantined -> free  (cleared)
//   publishing -> in io -> ready    a host block whose bytes are published into
//                                   a GPU's memory and then copied
//         free -> in io -> ready    a GPU block that is copied to
//   whatever is not free or absent may become quarantined; in a pool without
//   memory what would be free is absent.
//
// Blocks lie in areas: area g is group g's in host memory; after the groups'
// come the GPU pools', in the order of the geometry. A key has a host block
// and may have one in a GPU pool besides: the twin of the other.
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
  // A GPU pool's area has memory now, absent -> free, or has none any more:
  // free -> absent, and so does every other that becomes free meanwhile.
  void SetMemory(uint32_t area, bool there);

  // Takes a free block for `owner`: free -> granted. kNoBlock when there is
  // none.
  uint32_t Grant(uint32_t area, uint16_t owner);

  // granted -> publishing, under the next generation.
  void Publish(uint32_t block, uint16_t owner);
  // free -> in io, under the next generation. kNoBlock when there is none.
  uint32_t TakeForIo(uint32_t area);
  // publishing -> in io.
  void BeginIo(uint32_t block);
  // in io -> ready.
  void EndIo(uint32_t block);
  // How many tokens of a block that is being published are valid; 0: all.
  void SetValidTokens(uint32_t block, uint32_t valid_tokens);
  uint32_t valid_tokens(uint32_t block) const;
  // publishing -> ready.
  void MakeReady(uint32_t block);
  // granted, publishing, ready or in io -> quarantined.
  void Quarantine(uint32_t block);
  // granted, ready, in io or quarantined -> free, or absent.
  void Free(uint32_t block);

  protocol::BlockState state(uint32_t block) const { return word(block).state; }
  uint16_t owner(uint32_t block) const { return word(block).owner; }
  uint32_t generation(uint32_t block) const { return word(block).generation; }
  uint32_t area_of(uint32_t block) const;
  uint32_t group_of(uint32_t block) const {
    return area_groups_[area_of(block)];
  }
  uint32_t area_group(uint32_t area) const { return area_groups_[area]; }
  uint32_t area_count() const {
    return static_cast<uint32_t>(area_ends_.size());
  }
  uint32_t free_count(uint32_t area) const {
    return static_cast<uint32_t>(free_[area].size());
  }
  const GroupCounts& counts(uint32_t area) const { return counts_[area]; }
  uint32_t capacity() const { return static_cast<uint32_t>(metas_.size()); }
  uint32_t host_blocks() const { return host_blocks_; }
  bool in_gpu(uint32_t block) const { return block >= host_blocks_; }

  // The block in the other memory that has or will have the same bytes;
  // kNoBlock: none.
  uint32_t twin(uint32_t block) const {
    return twins_.empty() ? protocol::kNoBlock : twins_[block];
  }
  void Pair(uint32_t host_block, uint32_t gpu_block);
  // Neither has a twin afterwards. Nothing, if it has none.
  void Unpair(uint32_t block);
  // The block of the pair that is in host memory: itself, or its twin.
  uint32_t host_of(uint32_t block) const {
    return in_gpu(block) ? twin(block) : block;
  }

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
  void AddArea(uint32_t group, uint32_t first_block, uint32_t block_count,
               bool there);
  uint32_t& CountOf(uint32_t area, protocol::BlockState state);
  uint32_t NextGeneration(uint32_t block) const;

  protocol::BlockStateRecord* const records_;
  const uint32_t host_blocks_;
  // By area: one past its last block, its group, whether it has memory.
  std::vector<uint32_t> area_ends_;
  std::vector<uint32_t> area_groups_;
  std::vector<bool> area_there_;
  std::vector<BlockMeta> metas_;
  std::vector<uint32_t> twins_;              // empty without GPU pools
  std::vector<std::vector<uint32_t>> free_;  // last in, first out: warm
  std::vector<GroupCounts> counts_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_BLOCK_TABLE_H_
