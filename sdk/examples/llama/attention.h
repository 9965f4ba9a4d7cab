#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_ATTENTION_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_ATTENTION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "sdk/examples/llama/float4.h"
#include "sdk/examples/llama/model_config.h"
#include "sdk/examples/llama/paged_kv_cache.h"

namespace kvferry::llama {

// Grouped-query attention of one token over the paged KV of its sequence.
//
// The order of every sum follows from positions alone (float4.h), so the result
// depends on the query and on the KV before it, not on how either came to be.
// Memory   reuses its scores; no allocation after the longest context
// Threads  one
class Attention {
 public:
  // head_dim must be a multiple of this.
  static constexpr uint32_t kHeadDimStep = 16;

  explicit Attention(const ModelConfig& config);

  // Attends from `query` (query_dim numbers) to the tokens at positions
  // [0, token_count) and writes query_dim numbers to `output`.
  // REQUIRES  0 < token_count <= blocks.size() * kv.block_tokens
  void Attend(const KvLayerView& kv, std::span<const uint32_t> blocks,
              uint32_t token_count, std::span<const float> query,
              std::span<float> output);

 private:
  // The steps, for the query heads that share one KV head.
  void Score(const float* keys, const KvLayerView& kv,
             std::span<const uint32_t> blocks, uint32_t token_count,
             const float* queries);
  float Weigh(uint32_t query, uint32_t token_count);
  void Mix(const float* values, const KvLayerView& kv,
           std::span<const uint32_t> blocks, uint32_t token_count,
           uint32_t query, float sum, float* output) const;

  const uint32_t head_dim_;
  const uint32_t kv_head_count_;
  const uint32_t queries_per_kv_head_;
  const float scale_;
  size_t scores_stride_ = 0;     // a multiple of kFloat4Width
  std::vector<float> scores_;    // [query head of the KV head][position]
  std::vector<Float4> columns_;  // [dim]: one element of four keys
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_ATTENTION_H_
