#include "tools/kvferry-replay/prompt_keys.h"

#include "tools/kvferry-replay/random.h"

namespace kvferry::replay {

PromptKeys::PromptKeys(const NamespaceSalt& salt, uint32_t block_tokens,
                       uint64_t seed)
    : seed_(seed), hasher_(salt, /*group=*/0, block_tokens) {
  tokens_.resize(block_tokens);
}

std::span<const BlockKey> PromptKeys::Of(std::span<const uint64_t> hash_ids) {
  keys_.clear();
  BlockKey parent;
  for (const uint64_t id : hash_ids) {
    // Mixed twice, so that ids and seeds that differ by little do not give the
    // same sequence a few tokens on.
    Random random(Mix(Mix(id + kWeyl) ^ seed_));
    for (uint32_t& token : tokens_) {
      token = static_cast<uint32_t>(random.Word());
    }
    parent = hasher_.HashBlock(parent, tokens_);
    keys_.push_back(parent);
  }
  return keys_;
}

}  // namespace kvferry::replay
