#ifndef KVFERRY_SDK_GPU_ENGINE_BLOCKS_H_
#define KVFERRY_SDK_GPU_ENGINE_BLOCKS_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kvferry/paged.h"

namespace kvferry::sdk {

// Whether the memory has all blocks of a list (kNoEngineBlock stands for none),
// and a block so many tokens.
// Errors  kInvalidArgument  which not
inline absl::Status CheckEngineBlocks(const PagedMemory& memory,
                                      std::span<const uint64_t> engine_blocks,
                                      uint32_t last_tokens) {
  for (const uint64_t block : engine_blocks) {
    if (block == kNoEngineBlock || block < memory.block_count()) continue;
    return absl::InvalidArgumentError(absl::StrCat("gpu: engine block ", block,
                                                   ", the memory has ",
                                                   memory.block_count()));
  }
  if (last_tokens <= memory.group().block_tokens) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("gpu: ", last_tokens,
                   " tokens of the last block, a block "
                   "has ",
                   memory.group().block_tokens));
}

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_ENGINE_BLOCKS_H_
