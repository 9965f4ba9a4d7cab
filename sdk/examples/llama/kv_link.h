#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_KV_LINK_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_KV_LINK_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kvferry/client.h"
#include "sdk/examples/llama/example_flags.h"
#include "sdk/examples/llama/paged_kv_cache.h"

namespace kvferry::llama {

// What an engine does with KVFerry before it computes: attach, name the
// prompt's blocks, and bring those that are there into its own memory.
// Threads  one
class KvLink {
 public:
  // Errors  those of Client::Attach
  static absl::StatusOr<std::unique_ptr<KvLink>> Attach(
      const ExampleFlags& flags, const std::string& client_name, bool publish);

  // The keys of the full blocks of `tokens`. An incomplete last block has none:
  // it is recomputed, being less than a block.
  std::vector<BlockKey> KeysOf(std::span<const uint32_t> tokens) const;

  // Brings the longest cached prefix of `keys` into blocks of `cache` and sets
  // sequence->length to its tokens, 0 after a miss. Returns that length.
  //
  // REQUIRES  `sequence` is empty
  // Errors    kResourceExhausted  the cache has no room; those of Match.
  //           On error the sequence is empty.
  absl::StatusOr<uint32_t> Restore(std::span<const BlockKey> keys,
                                   PagedKvCache* cache, Sequence* sequence);

  Client& client() { return *client_; }
  const GroupSpec& group() const { return spec_.groups[0]; }

 private:
  KvLink(std::unique_ptr<Client> client, NamespaceSpec spec,
         std::string cache_salt);

  absl::Status Scatter(const PinnedPrefix& prefix, PagedKvCache* cache,
                       const Sequence& sequence) const;

  const std::unique_ptr<Client> client_;
  const NamespaceSpec spec_;
  const std::string cache_salt_;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_KV_LINK_H_
