#include "sdk/examples/llama/kv_link.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "base/status.h"
#include "sdk/examples/llama/model_namespace.h"

namespace kvferry::llama {

absl::StatusOr<std::unique_ptr<KvLink>> KvLink::Attach(
    const ExampleFlags& flags, const std::string& client_name, bool publish) {
  AttachOptions options;
  options.socket_path = flags.socket;
  options.spec = NamespaceFor(flags.model, flags.namespace_name,
                              flags.block_tokens, flags.slice_count);
  options.publish = publish;
  options.client_name = client_name;
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Client> client,
                           Client::Attach(options));
  return absl::WrapUnique(
      new KvLink(std::move(client), options.spec, flags.cache_salt));
}

KvLink::KvLink(std::unique_ptr<Client> client, NamespaceSpec spec,
               std::string cache_salt)
    : client_(std::move(client)),
      spec_(std::move(spec)),
      cache_salt_(std::move(cache_salt)) {}

PromptBlocks KvLink::BlocksOf(std::span<const uint32_t> tokens,
                              const BlockKey& parent) const {
  KeyHasher hasher(client_->info().salt, /*group=*/0, group().block_tokens);
  PromptBlocks blocks;
  hasher.HashBlocks(parent, tokens, &blocks.keys, cache_salt_);
  blocks.tail_tokens =
      static_cast<uint32_t>(tokens.size() % group().block_tokens);
  if (blocks.tail_tokens != 0) {
    blocks.keys.push_back(
        hasher.HashBlock(blocks.keys.empty() ? parent : blocks.keys.back(),
                         tokens.last(blocks.tail_tokens), cache_salt_));
  }
  return blocks;
}

absl::StatusOr<uint32_t> KvLink::Restore(std::span<const uint32_t> tokens,
                                         PagedKvCache* cache,
                                         Sequence* sequence) {
  const uint32_t block_tokens = group().block_tokens;
  const PromptBlocks blocks = BlocksOf(tokens);
  KVFERRY_RETURN_IF_ERROR(
      cache->Reserve(static_cast<uint32_t>(tokens.size()), sequence));
  absl::StatusOr<uint32_t> restored = 0u;
  if (blocks.full_count() > 0) {
    restored = Copy({.keys = blocks.full_keys()}, 0, cache, *sequence);
  }

  // Behind the last full block there may be a tail, of any length: the longest
  // one first.
  const uint32_t full = restored.value_or(0);
  const BlockKey parent =
      full == 0 ? BlockKey{} : blocks.keys[full / block_tokens - 1];
  const std::span<const uint32_t> rest = tokens.subspan(full);
  for (auto tail = static_cast<uint32_t>(
           std::min<size_t>(rest.size(), block_tokens - 1));
       tail > 0 && restored.ok() && *restored == full; --tail) {
    const BlockKey key = BlocksOf(rest.first(tail), parent).keys[0];
    const absl::StatusOr<uint32_t> copied =
        Copy({.keys = std::span(&key, 1), .tail_tokens = tail},
             full / block_tokens, cache, *sequence);
    if (copied.ok()) {
      *restored += *copied;
    } else {
      restored = copied.status();
    }
  }
  if (!restored.ok()) {
    cache->Release(sequence);
    return restored;
  }
  sequence->length = *restored;
  return restored;
}

absl::StatusOr<uint32_t> KvLink::Copy(const GroupKeys& keys,
                                      uint32_t first_block, PagedKvCache* cache,
                                      const Sequence& sequence) {
  PinnedPrefix prefix;
  KVFERRY_RETURN_IF_ERROR(client_->Match(std::span(&keys, 1), &prefix));
  for (uint32_t slice = 0; slice < group().slice_count; ++slice) {
    const PagedTensor tensor = TensorFor(group(), slice, cache);
    for (uint32_t block = 0; block < prefix.block_count(); ++block) {
      const bool is_last = block + 1 == keys.keys.size();
      KVFERRY_RETURN_IF_ERROR(ScatterPage(group(), prefix.page(block, slice),
                                          tensor,
                                          sequence.blocks[first_block + block],
                                          is_last ? keys.tail_tokens : 0));
    }
  }
  // Only now is it known whether the pins stood during all of the copying. If
  // they did not it is a miss: what was copied gets computed over.
  const absl::Status stood = prefix.Check();
  if (absl::IsAborted(stood)) return 0u;
  KVFERRY_RETURN_IF_ERROR(stood);
  return static_cast<uint32_t>(prefix.tokens());
}

}  // namespace kvferry::llama
