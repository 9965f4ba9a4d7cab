#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_KV_LINK_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_KV_LINK_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "kvferry/client.h"
#include "sdk/examples/llama/example_flags.h"
#include "sdk/examples/llama/paged_kv_cache.h"
#include "sdk/examples/llama/prompt_blocks.h"

namespace kvferry::llama {

// What an engine does with KVFerry before it computes: attach, name the
// prompt's blocks, and bring those that are there into its own memory.
// Threads  one
class KvLink {
 public:
  // Errors  those of Client::Attach
  static absl::StatusOr<std::unique_ptr<KvLink>> Attach(
      const ExampleFlags& flags, const std::string& client_name, bool publish);

  // The blocks of `tokens`, which come after the full block `parent` (none at
  // a prompt's start).
  PromptBlocks BlocksOf(std::span<const uint32_t> tokens,
                        const BlockKey& parent = {}) const;

  // Brings the longest prefix of `tokens` that is ready in the cache into
  // blocks of `cache` and sets sequence->length to its tokens, 0 after a miss.
  // Returns that length. It may end in the middle of a block, with a tail that
  // an earlier prompt or an earlier turn of the conversation left.
  //
  // REQUIRES  `sequence` is empty
  // Errors    kResourceExhausted  the cache has no room; those of Match.
  //           On error the sequence is empty.
  absl::StatusOr<uint32_t> Restore(std::span<const uint32_t> tokens,
                                   PagedKvCache* cache, Sequence* sequence);

  Client& client() { return *client_; }
  const GroupSpec& group() const { return spec_.groups[0]; }

 private:
  KvLink(std::unique_ptr<Client> client, NamespaceSpec spec,
         std::string cache_salt);

  // Copies what Match pins of `keys` to sequence.blocks from `first_block` on,
  // and returns how many tokens that is: 0 when the pins did not stand.
  absl::StatusOr<uint32_t> Copy(const GroupKeys& keys, uint32_t first_block,
                                PagedKvCache* cache, const Sequence& sequence);

  const std::unique_ptr<Client> client_;
  const NamespaceSpec spec_;
  const std::string cache_salt_;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_KV_LINK_H_
