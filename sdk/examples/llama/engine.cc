#include "sdk/examples/llama/engine.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/examples/llama/rms_norm.h"
#include "sdk/examples/llama/swiglu.h"

namespace kvferry::llama {
namespace {

std::span<float> Row(std::vector<float>& rows, uint32_t row, uint32_t dim) {
  return std::span<float>(rows).subspan(size_t{row} * dim, dim);
}

}  // namespace

Engine::Engine(const Weights* weights, PagedKvCache* cache)
    : weights_(*weights),
      config_(weights->config()),
      cache_(*cache),
      rope_(config_.head_dim, config_.context_max, config_.rope_theta),
      attention_(config_),
      logits_(config_.vocabulary_size) {}

absl::Status Engine::Forward(std::span<const uint32_t> tokens,
                             Sequence* sequence) {
  KVFERRY_RETURN_IF_ERROR(Check(tokens, *sequence));
  const auto row_count = static_cast<uint32_t>(tokens.size());
  KVFERRY_RETURN_IF_ERROR(
      cache_.Reserve(sequence->length + row_count, sequence));

  Embed(tokens);
  for (uint32_t layer = 0; layer < config_.layer_count; ++layer) {
    AttendLayer(layer, row_count, *sequence);
    FeedForwardLayer(layer, row_count);
  }
  sequence->length += row_count;
  ComputeLogits(row_count - 1);
  return absl::OkStatus();
}

uint32_t Engine::GreedyToken() const {
  return static_cast<uint32_t>(
      std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
}

absl::Status Engine::Check(std::span<const uint32_t> tokens,
                           const Sequence& sequence) const {
  if (tokens.empty()) {
    return absl::InvalidArgumentError("engine: no tokens to compute");
  }
  if (tokens.size() > config_.context_max - sequence.length) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine: ", sequence.length, " + ", tokens.size(),
                     " tokens are over context_max ", config_.context_max));
  }
  for (const uint32_t token : tokens) {
    if (token >= config_.vocabulary_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("engine: token ", token, " is beyond the vocabulary of ",
                       config_.vocabulary_size));
    }
  }
  return absl::OkStatus();
}

void Engine::Embed(std::span<const uint32_t> tokens) {
  const uint32_t dim = config_.model_dim;
  state_.resize(tokens.size() * dim);
  for (size_t row = 0; row < tokens.size(); ++row) {
    const float* embedding = weights_.embedding(tokens[row]);
    std::copy(embedding, embedding + dim, state_.data() + row * dim);
  }
}

void Engine::AttendLayer(uint32_t layer, uint32_t row_count,
                         const Sequence& sequence) {
  const LayerWeights& weights = weights_.layer(layer);
  const uint32_t query_dim = config_.query_dim();
  const uint32_t kv_dim = config_.kv_dim();
  NormRows(weights.attention_gain, row_count);
  query_.resize(size_t{row_count} * query_dim);
  key_.resize(size_t{row_count} * kv_dim);
  value_.resize(size_t{row_count} * kv_dim);
  mixed_.resize(size_t{row_count} * query_dim);
  Multiply(weights.query, normed_.data(), row_count, query_.data());
  Multiply(weights.key, normed_.data(), row_count, key_.data());
  Multiply(weights.value, normed_.data(), row_count, value_.data());

  for (uint32_t row = 0; row < row_count; ++row) {
    const uint32_t position = sequence.length + row;
    const std::span<float> key = Row(key_, row, kv_dim);
    const std::span<float> value = Row(value_, row, kv_dim);
    rope_.Rotate(position, Row(query_, row, query_dim));
    rope_.Rotate(position, key);
    std::copy(key.begin(), key.end(), cache_.key(layer, sequence, position));
    std::copy(value.begin(), value.end(),
              cache_.value(layer, sequence, position));
  }
  for (uint32_t row = 0; row < row_count; ++row) {
    attention_.Attend(cache_.layer(layer), sequence.blocks,
                      sequence.length + row + 1, Row(query_, row, query_dim),
                      Row(mixed_, row, query_dim));
  }
  AddProjection(weights.attention_output, mixed_, row_count);
}

void Engine::FeedForwardLayer(uint32_t layer, uint32_t row_count) {
  const LayerWeights& weights = weights_.layer(layer);
  NormRows(weights.feed_forward_gain, row_count);
  gate_.resize(size_t{row_count} * config_.hidden_dim);
  up_.resize(size_t{row_count} * config_.hidden_dim);
  Multiply(weights.gate, normed_.data(), row_count, gate_.data());
  Multiply(weights.up, normed_.data(), row_count, up_.data());
  SwiGlu(up_, gate_);
  AddProjection(weights.down, gate_, row_count);
}

void Engine::ComputeLogits(uint32_t row) {
  const uint32_t dim = config_.model_dim;
  normed_.resize(std::max<size_t>(normed_.size(), dim));
  const std::span<float> normed = Row(normed_, 0, dim);
  RmsNorm(Row(state_, row, dim), weights_.final_gain(), config_.norm_epsilon,
          normed);
  Multiply(weights_.logits(), normed.data(), 1, logits_.data());
}

void Engine::NormRows(std::span<const float> gain, uint32_t row_count) {
  const uint32_t dim = config_.model_dim;
  normed_.resize(size_t{row_count} * dim);
  for (uint32_t row = 0; row < row_count; ++row) {
    RmsNorm(Row(state_, row, dim), gain, config_.norm_epsilon,
            Row(normed_, row, dim));
  }
}

void Engine::AddProjection(const Matrix& matrix,
                           const std::vector<float>& inputs,
                           uint32_t row_count) {
  added_.resize(size_t{row_count} * config_.model_dim);
  Multiply(matrix, inputs.data(), row_count, added_.data());
  for (size_t i = 0; i < added_.size(); ++i) state_[i] += added_[i];
}

}  // namespace kvferry::llama
