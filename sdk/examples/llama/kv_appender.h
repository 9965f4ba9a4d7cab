#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_KV_APPENDER_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_KV_APPENDER_H_

#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sdk/examples/llama/kv_link.h"
#include "sdk/examples/llama/kv_publisher.h"
#include "sdk/examples/llama/paged_kv_cache.h"

namespace kvferry::llama {

// Publishes what decode computes, block by block as they fill, so that the next
// turn of the conversation hits it.
//
// Life cycle  1. Open   2. Append after each Forward   3. Finish
// Threads     one
class KvAppender {
 public:
  // `cached_tokens` are those at the start of the sequence whose blocks are in
  // the cache already.
  // Errors  those of Client::OpenPublication
  static absl::StatusOr<KvAppender> Open(
      std::span<const uint32_t> cached_tokens, KvLink* link);

  // Publishes the full blocks that came since; `tokens` are those of the
  // sequence, from its start.
  absl::Status Append(std::span<const uint32_t> tokens,
                      const Sequence& sequence, PagedKvCache* cache);
  // Publishes the last, incomplete block as a tail, and ends.
  absl::StatusOr<PublishedBlocks> Finish(std::span<const uint32_t> tokens,
                                         const Sequence& sequence,
                                         PagedKvCache* cache);

 private:
  KvAppender(KvPublisher publisher, const BlockKey& parent, KvLink* link)
      : publisher_(std::move(publisher)), link_(link), parent_(parent) {}

  // Publishes `tokens`' blocks from the next one on.
  absl::Status Publish(std::span<const uint32_t> tokens,
                       const Sequence& sequence, PagedKvCache* cache);

  KvPublisher publisher_;
  KvLink* link_;
  BlockKey parent_;  // of the next block
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_KV_APPENDER_H_
