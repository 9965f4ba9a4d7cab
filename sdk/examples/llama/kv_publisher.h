#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_KV_PUBLISHER_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_KV_PUBLISHER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvferry/client.h"
#include "sdk/examples/llama/kv_link.h"
#include "sdk/examples/llama/paged_kv_cache.h"

namespace kvferry::llama {

// What became of the blocks a prefill began.
struct PublishedBlocks {
  uint32_t committed = 0;  // written by this process
  uint32_t existing = 0;   // were there, or somebody else is writing them
  uint32_t refused = 0;    // no space, or void
};

// Publishes one prompt's blocks while they are being computed: per chunk of the
// prefill 1. Begin, 2. compute, 3. Write, 4. Commit; Finish at the end.
// Destroying it gives up what is not committed.
// Threads  one
class KvPublisher {
 public:
  // Block `first_block` is the first that is not in the cache yet. `keys`
  // (borrowed) are those of the whole prompt.
  // Errors  those of Client::OpenPublication
  static absl::StatusOr<KvPublisher> Open(const PublicationOptions& options,
                                          std::span<const BlockKey> keys,
                                          uint32_t first_block, KvLink* link);

  // Announces blocks up to `end_block` (exclusive) of the prompt.
  absl::Status Begin(uint32_t end_block);
  // Copies what was begun and is ours out of the engine's memory.
  absl::Status Write(const Sequence& sequence, PagedKvCache* cache);
  // Makes what was written visible, once all ranks have done the same.
  absl::Status Commit();
  // Waits for the daemon's answers and ends the publication.
  absl::StatusOr<PublishedBlocks> Finish();

 private:
  KvPublisher(Publication publication, const PublicationOptions& options,
              std::span<const BlockKey> keys, uint32_t first_block,
              KvLink* link);

  Publication publication_;
  std::vector<uint32_t> slices_;  // those this process writes
  const std::span<const BlockKey> keys_;
  const uint32_t first_block_;  // of the prompt, at position 0
  KvLink* const link_;
  // Positions of the publication.
  uint32_t begun_ = 0;
  uint32_t written_ = 0;
  uint32_t committed_ = 0;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_KV_PUBLISHER_H_
