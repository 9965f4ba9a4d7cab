#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_KV_PUBLISHER_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_KV_PUBLISHER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvferry/client.h"
#include "sdk/examples/llama/kv_link.h"
#include "sdk/examples/llama/paged_kv_cache.h"

namespace kvferry::llama {

// What became of the blocks that were begun.
struct PublishedBlocks {
  uint32_t committed = 0;  // written by this process
  uint32_t existing = 0;   // were there, or somebody else is writing them
  uint32_t refused = 0;    // no space, or void
};

// Publishes a sequence's blocks, from one on, while they are being computed.
// Blocks are numbered as in the sequence.
//
// Life cycle  1. Begin, as far as keys are known   2. for each chunk of the
//             blocks begun: Write its layers, all at once or a few at a time
//             with CommitLayers after each; then Commit   3. back to 1 at will
//             4. SetHandOver before the last Commit   5. Finish
//             Destroying it gives up what is not committed.
// Threads     one
class KvPublisher {
 public:
  // Block `first_block` of the sequence is the first to be published.
  // Errors  those of Client::OpenPublication
  static absl::StatusOr<KvPublisher> Open(const PublicationOptions& options,
                                          uint32_t first_block, KvLink* link);

  // Announces the next blocks, chained after the full block `parent`; of the
  // last one only `tail_tokens` tokens if that is not 0.
  absl::Status Begin(const BlockKey& parent, std::span<const BlockKey> keys,
                     uint32_t tail_tokens);
  // Copies layers [layer, layer + layers) of the chunk that ends at `end_block`
  // out of the engine's memory. A chunk begins where the last one ended.
  absl::Status Write(uint32_t end_block, uint32_t layer, uint32_t layers,
                     const Sequence& sequence, PagedKvCache* cache);
  // Shows whoever follows the chunk's first `layers` layers.
  absl::Status CommitLayers(uint32_t end_block, uint32_t layers);
  // Makes the chunk visible, once all ranks have done the same.
  absl::Status Commit(uint32_t end_block);
  absl::Status SetHandOver(const std::string& bytes);
  // Waits for the daemon's answers and ends the publication.
  absl::StatusOr<PublishedBlocks> Finish();

  // The next chunk's first block.
  uint32_t next_block() const { return first_block_ + committed_; }
  const Publication& publication() const { return publication_; }

 private:
  KvPublisher(Publication publication, const PublicationOptions& options,
              uint32_t first_block, KvLink* link);

  Publication publication_;
  std::vector<uint32_t> slices_;  // those this process writes
  uint32_t first_block_;          // of the sequence, at position 0
  KvLink* link_;
  uint32_t tail_tokens_ = 0;
  // Positions of the publication.
  uint32_t begun_ = 0;
  uint32_t committed_ = 0;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_KV_PUBLISHER_H_
