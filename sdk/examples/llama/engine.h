#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_ENGINE_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_ENGINE_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "sdk/examples/llama/attention.h"
#include "sdk/examples/llama/paged_kv_cache.h"
#include "sdk/examples/llama/rope.h"
#include "sdk/examples/llama/weights.h"

namespace kvferry::llama {

// Runs the model over tokens of one sequence at a time, on one core.
//
// A token's numbers depend on the tokens before it alone: whether its
// neighbours are computed in the same call, and whether the KV before it was
// computed here or copied in, changes no bit. That is what lets a test compare
// a run with a cache to one without by equality.
//
// Memory   grows to the largest chunk given to Forward
// Threads  one
class Engine {
 public:
  // Borrows both; they outlive the engine.
  Engine(const Weights* weights, PagedKvCache* cache);

  const ModelConfig& config() const { return config_; }

  // Told during Forward that the new tokens' KV of `layer` is in the cache,
  // layer after layer, before the layer is attended to.
  using LayerHook = std::function<absl::Status(uint32_t layer)>;

  // Appends `tokens` to `sequence` and computes their KV. The logits of the
  // last one stand in logits() afterwards.
  // Errors  kInvalidArgument    no tokens, one beyond the vocabulary, or more
  //                             than context_max in all
  //         kResourceExhausted  the cache has no block left
  //         what the hook returned
  //         On error the sequence is as long as before.
  absl::Status Forward(std::span<const uint32_t> tokens, Sequence* sequence,
                       const LayerHook& layer_hook = {});

  // vocabulary_size numbers, of the last token given to Forward.
  std::span<const float> logits() const { return logits_; }

  // The token with the largest logit, the first one of equals.
  uint32_t GreedyToken() const;

 private:
  absl::Status Check(std::span<const uint32_t> tokens,
                     const Sequence& sequence) const;
  void Embed(std::span<const uint32_t> tokens);
  // Takes row_count rows' keys and values into the cache.
  void StoreKv(uint32_t layer, uint32_t row_count, const Sequence& sequence);
  // Both work on rows [first_row, row_count); normed_ holds the layer's input
  // for the first.
  void AttendLayer(uint32_t layer, uint32_t first_row, uint32_t row_count,
                   const Sequence& sequence);
  void FeedForwardLayer(uint32_t layer, uint32_t first_row, uint32_t row_count);
  void ComputeLogits(uint32_t row);
  void NormRows(std::span<const float> gain, uint32_t first_row,
                uint32_t row_count);
  // state += projection of `inputs`, row by row.
  void AddProjection(const Matrix& matrix, const std::vector<float>& inputs,
                     uint32_t first_row, uint32_t row_count);

  const Weights& weights_;
  const ModelConfig& config_;
  PagedKvCache& cache_;
  const Rope rope_;
  Attention attention_;

  // Rows of the current chunk, one a token.
  std::vector<float> state_;   // [row][model_dim], the residual stream
  std::vector<float> normed_;  // [row][model_dim]
  std::vector<float> added_;   // [row][model_dim]
  std::vector<float> query_;   // [row][query_dim]
  std::vector<float> key_;     // [row][kv_dim]
  std::vector<float> value_;   // [row][kv_dim]
  std::vector<float> mixed_;   // [row][query_dim]
  std::vector<float> gate_;    // [row][hidden_dim]
  std::vector<float> up_;      // [row][hidden_dim]
  std::vector<float> logits_;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_ENGINE_H_
