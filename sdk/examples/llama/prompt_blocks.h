#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_PROMPT_BLOCKS_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_PROMPT_BLOCKS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kvferry/key.h"

namespace kvferry::llama {

// The names of the blocks that some tokens lie in: the full ones, and the tail,
// if the last block is not full.
struct PromptBlocks {
  std::vector<BlockKey> keys;
  // Valid tokens of the last key's block; 0: it is a full one.
  uint32_t tail_tokens = 0;

  uint32_t count() const { return static_cast<uint32_t>(keys.size()); }
  uint32_t full_count() const { return count() - (tail_tokens != 0 ? 1 : 0); }
  std::span<const BlockKey> full_keys() const {
    return std::span(keys).first(full_count());
  }
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_PROMPT_BLOCKS_H_
