#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_PREFILLER_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_PREFILLER_H_

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "sdk/examples/llama/engine.h"
#include "sdk/examples/llama/hand_over.h"
#include "sdk/examples/llama/kv_publisher.h"
#include "sdk/examples/llama/paged_kv_cache.h"
#include "sdk/examples/llama/prompt_blocks.h"
#include "sdk/examples/llama/timeline.h"

namespace kvferry::llama {

struct PrefillerOptions {
  uint32_t chunk_tokens = 256;
  // Shows each layer of a chunk as soon as its KV is computed; else whole
  // chunks.
  bool by_layer = true;
  // Dies (SIGKILL) in this chunk: half of its layers shown, or all of them
  // written, and nothing of it committed.
  std::optional<uint32_t> exit_in_chunk;
};

// Computes what is missing of a prompt, a chunk at a time, and publishes each
// chunk's blocks while and after it is computed.
// Threads  one
class Prefiller {
 public:
  // Borrows all of them; they outlive it.
  Prefiller(const PrefillerOptions& options, Engine* engine,
            PagedKvCache* cache, KvPublisher* publisher, Timeline* timeline);

  // `blocks` are those of `tokens`; the publisher has begun all that it will.
  // REQUIRES  sequence->length < tokens.size()
  // Errors    those of Engine::Forward and of Publication
  absl::Status Run(std::span<const uint32_t> tokens, const PromptBlocks& blocks,
                   Sequence* sequence);

  // After Run.
  const HandOver& hand_over() const { return hand_over_; }
  double compute_ms() const { return static_cast<double>(compute_ns_) / 1e6; }
  double publish_ms() const { return static_cast<double>(publish_ns_) / 1e6; }

 private:
  struct Chunk {
    uint32_t index = 0;
    std::span<const uint32_t> tokens;
    uint32_t end_block = 0;  // the first that it does not complete
    bool is_last = false;
  };

  absl::Status RunChunk(const Chunk& chunk, Sequence* sequence);
  // What follows on a layer's KV, computed since begun_ns_.
  absl::Status ShowLayer(const Chunk& chunk, uint32_t layer,
                         const Sequence& sequence);
  absl::Status HandOverFirstToken();
  void AddCompute(const Chunk& chunk, std::optional<uint32_t> layer);
  void AddPublish(const Chunk& chunk, std::optional<uint32_t> layer);

  const PrefillerOptions options_;
  Engine& engine_;
  PagedKvCache& cache_;
  KvPublisher& publisher_;
  Timeline& timeline_;
  const uint32_t layer_count_;

  HandOver hand_over_;
  uint64_t begun_ns_ = 0;  // what it does now
  uint64_t compute_ns_ = 0;
  uint64_t publish_ns_ = 0;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_PREFILLER_H_
