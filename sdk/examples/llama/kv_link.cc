#include "sdk/examples/llama/kv_link.h"

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

std::vector<BlockKey> KvLink::KeysOf(std::span<const uint32_t> tokens) const {
  KeyHasher hasher(client_->info().salt, /*group=*/0, group().block_tokens);
  std::vector<BlockKey> keys;
  hasher.HashBlocks(BlockKey{}, tokens, &keys, cache_salt_);
  return keys;
}

absl::StatusOr<uint32_t> KvLink::Restore(std::span<const BlockKey> keys,
                                         PagedKvCache* cache,
                                         Sequence* sequence) {
  if (keys.empty()) return 0u;  // a prompt shorter than a block
  PinnedPrefix prefix;
  KVFERRY_RETURN_IF_ERROR(client_->Match(keys, &prefix));
  const auto hit_tokens = static_cast<uint32_t>(prefix.tokens());
  KVFERRY_RETURN_IF_ERROR(cache->Reserve(hit_tokens, sequence));

  absl::Status copied = Scatter(prefix, cache, *sequence);
  // Only now is it known whether the pins stood during all of the copying.
  if (copied.ok()) copied = prefix.Check();
  if (!copied.ok()) {
    cache->Release(sequence);
    if (absl::IsAborted(copied)) return 0u;  // a miss: compute it
    return copied;
  }
  sequence->length = hit_tokens;
  return hit_tokens;
}

absl::Status KvLink::Scatter(const PinnedPrefix& prefix, PagedKvCache* cache,
                             const Sequence& sequence) const {
  for (uint32_t slice = 0; slice < group().slice_count; ++slice) {
    const PagedTensor tensor = TensorFor(group(), slice, cache);
    for (uint32_t block = 0; block < prefix.block_count(); ++block) {
      KVFERRY_RETURN_IF_ERROR(ScatterPage(group(), prefix.page(block, slice),
                                          tensor, sequence.blocks[block]));
    }
  }
  return absl::OkStatus();
}

}  // namespace kvferry::llama
