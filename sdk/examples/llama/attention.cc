#include "sdk/examples/llama/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sdk/examples/llama/exponential.h"

namespace kvferry::llama {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest();

uint32_t RoundUp4(uint32_t count) {
  return (count + kFloat4Width - 1) / kFloat4Width * kFloat4Width;
}

}  // namespace

Attention::Attention(const ModelConfig& config)
    : head_dim_(config.head_dim),
      kv_head_count_(config.kv_head_count),
      queries_per_kv_head_(config.queries_per_kv_head()),
      scale_(1.0f / std::sqrt(static_cast<float>(config.head_dim))),
      columns_(config.head_dim) {}

void Attention::Attend(const KvLayerView& kv, std::span<const uint32_t> blocks,
                       uint32_t token_count, std::span<const float> query,
                       std::span<float> output) {
  if (scores_stride_ < token_count) {
    scores_stride_ = RoundUp4(2 * token_count);
    scores_.assign(scores_stride_ * queries_per_kv_head_, 0.0f);
  }
  for (uint32_t head = 0; head < kv_head_count_; ++head) {
    const size_t first = size_t{head} * queries_per_kv_head_ * head_dim_;
    const float* keys = kv.keys + head * kv.head_stride;
    const float* values = kv.values + head * kv.head_stride;
    Score(keys, kv, blocks, token_count, query.data() + first);
    for (uint32_t q = 0; q < queries_per_kv_head_; ++q) {
      const float sum = Weigh(q, token_count);
      Mix(values, kv, blocks, token_count, q, sum,
          output.data() + first + size_t{q} * head_dim_);
    }
  }
}

// scores[q][position] = queries[q] . keys[position] * scale, four positions at
// once: one lane a position, each a sum over the dimensions in order.
void Attention::Score(const float* keys, const KvLayerView& kv,
                      std::span<const uint32_t> blocks, uint32_t token_count,
                      const float* queries) {
  for (uint32_t first = 0; first < token_count; first += kFloat4Width) {
    const float* key[kFloat4Width];
    for (uint32_t lane = 0; lane < kFloat4Width; ++lane) {
      // Lanes past the end repeat the last key; Weigh overwrites them.
      const uint32_t position = std::min(first + lane, token_count - 1);
      key[lane] = keys + blocks[position / kv.block_tokens] * kv.block_stride +
                  position % kv.block_tokens * kv.token_stride;
    }
    for (uint32_t d = 0; d < head_dim_; ++d) {
      columns_[d] = Float4{key[0][d], key[1][d], key[2][d], key[3][d]};
    }
    for (uint32_t q = 0; q < queries_per_kv_head_; ++q) {
      const float* query = queries + size_t{q} * head_dim_;
      Float4 sum = {};
      for (uint32_t d = 0; d < head_dim_; ++d) sum += query[d] * columns_[d];
      Store4(sum * scale_, scores_.data() + q * scores_stride_ + first);
    }
  }
}

// Turns the scores of one query head into weights and returns their sum.
float Attention::Weigh(uint32_t query, uint32_t token_count) {
  float* scores = scores_.data() + query * scores_stride_;
  const uint32_t padded = RoundUp4(token_count);
  std::fill(scores + token_count, scores + padded, kLowest);
  Float4 maxima = Splat4(kLowest);
  for (uint32_t i = 0; i < padded; i += kFloat4Width) {
    const Float4 score = Load4(scores + i);
    maxima = score > maxima ? score : maxima;
  }
  const float maximum =
      std::max(std::max(maxima[0], maxima[1]), std::max(maxima[2], maxima[3]));
  for (uint32_t i = 0; i < padded; i += kFloat4Width) {
    Store4(Exponential(Load4(scores + i) - maximum), scores + i);
  }
  // The padding's own weights, tiny as they are, are not part of the sum.
  std::fill(scores + token_count, scores + padded, 0.0f);
  Float4 sum = {};
  for (uint32_t i = 0; i < padded; i += kFloat4Width) sum += Load4(scores + i);
  return Sum(sum);
}

// output = (sum over positions, in order, of weight x value) / `sum`.
void Attention::Mix(const float* values, const KvLayerView& kv,
                    std::span<const uint32_t> blocks, uint32_t token_count,
                    uint32_t query, float sum, float* output) const {
  constexpr uint32_t kVectors = kHeadDimStep / kFloat4Width;
  const float* weights = scores_.data() + query * scores_stride_;
  for (uint32_t first = 0; first < head_dim_; first += kHeadDimStep) {
    Float4 mixed[kVectors] = {};
    for (uint32_t position = 0; position < token_count;) {
      const float* value =
          values + blocks[position / kv.block_tokens] * kv.block_stride + first;
      const uint32_t end = std::min(position + kv.block_tokens, token_count);
      for (; position < end; ++position, value += kv.token_stride) {
        for (uint32_t v = 0; v < kVectors; ++v) {
          mixed[v] += weights[position] * Load4(value + v * kFloat4Width);
        }
      }
    }
    for (uint32_t v = 0; v < kVectors; ++v) {
      Store4(mixed[v] / sum, output + first + v * kFloat4Width);
    }
  }
}

}  // namespace kvferry::llama
