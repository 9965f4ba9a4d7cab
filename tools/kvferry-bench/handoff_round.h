#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_ROUND_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_ROUND_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kvferry/key.h"
#include "tools/kvferry-bench/random.h"

namespace kvferry::bench {

// One prompt that `handoff` passes from its publisher to its reader.
struct HandoffRound {
  // Names the keys and decides the bytes: no two rounds share either.
  uint64_t number = 0;
  uint32_t block_count = 0;
  uint32_t chunk_blocks = 0;
  // From one chunk, or one layer of a chunk, to the next; 0: without a pause.
  uint64_t interval_ns = 0;
  bool by_layer = false;
  // The reader gets its ticket when everything is committed, not before.
  bool store_and_forward = false;
  // The first chunk is begun and stays as it is until the reader says so.
  bool hold = false;

  uint32_t ChunkSize(uint32_t first) const {
    return std::min(chunk_blocks, block_count - first);
  }
  uint32_t LastChunkFirst() const {
    return (block_count - 1) / chunk_blocks * chunk_blocks;
  }
  std::vector<BlockKey> Keys() const {
    std::vector<BlockKey> keys(block_count);
    for (uint32_t i = 0; i < block_count; ++i) {
      keys[i] = KeyAt(Mix64(number), i);
    }
    return keys;
  }
};

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_ROUND_H_
