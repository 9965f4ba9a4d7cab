#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_PROMPT_KEYS_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_PROMPT_KEYS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kvferry/key.h"

namespace kvferry::replay {

// Block names for a trace's hash ids: each id stands for tokens that follow
// from it and the seed, and the keys are chained over them as an engine's are.
// So two prompts share exactly the prefix that their ids share.
// Threads  one thread at a time
class PromptKeys {
 public:
  PromptKeys(const NamespaceSalt& salt, uint32_t block_tokens, uint64_t seed);

  // The keys of a prompt's blocks; valid until the next call.
  std::span<const BlockKey> Of(std::span<const uint64_t> hash_ids);

 private:
  const uint64_t seed_;
  KeyHasher hasher_;
  std::vector<uint32_t> tokens_;  // of one block
  std::vector<BlockKey> keys_;
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_PROMPT_KEYS_H_
