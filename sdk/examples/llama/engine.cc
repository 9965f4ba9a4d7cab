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

// outputs = inputs x matrix, for rows [first_row, row_count) of both.
void MultiplyRows(const Matrix& matrix, const std::vector<float>& inputs,
                  uint32_t first_row, uint32_t row_count,
                  std::vector<float>* outputs) {
  outputs->resize(size_t{row_count} * matrix.output_dim());
  Multiply(matrix, inputs.data() + size_t{first_row} * matrix.input_dim(),
           row_count - first_row,
           outputs->data() + size_t{first_row} * matrix.output_dim());
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
                             Sequence* sequence, const LayerHook& layer_hook) {
  KVFERRY_RETURN_IF_ERROR(Check(tokens, *sequence));
  const auto row_count = static_cast<uint32_t>(tokens.size());
  KVFERRY_RETURN_IF_ERROR(
      cache_.Reserve(sequence->length + row_count, sequence));

  Embed(tokens);
  for (uint32_t layer = 0; layer < config_.layer_count; ++layer) {
    StoreKv(layer, row_count, *sequence);
    if (layer_hook) KVFERRY_RETURN_IF_ERROR(layer_hook(layer));
    // Nothing but the logits follows from the last layer, and only the last
    // row has them: so little lies between the last KV and the next token.
    const bool is_last = layer + 1 == config_.layer_count;
    const uint32_t first_row = is_last ? row_count - 1 : 0;
    AttendLayer(layer, first_row, row_count, *sequence);
    FeedForwardLayer(layer, first_row, row_count);
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

void Engine::StoreKv(uint32_t layer, uint32_t row_count,
                     const Sequence& sequence) {
  const LayerWeights& weights = weights_.layer(layer);
  const uint32_t kv_dim = config_.kv_dim();
  NormRows(weights.attention_gain, 0, row_count);
  MultiplyRows(weights.key, normed_, 0, row_count, &key_);
  MultiplyRows(weights.value, normed_, 0, row_count, &value_);
  for (uint32_t row = 0; row < row_count; ++row) {
    const uint32_t position = sequence.length + row;
    const std::span<float> key = Row(key_, row, kv_dim);
    const std::span<float> value = Row(value_, row, kv_dim);
    rope_.Rotate(position, key);
    std::copy(key.begin(), key.end(), cache_.key(layer, sequence, position));
    std::copy(value.begin(), value.end(),
              cache_.value(layer, sequence, position));
  }
}

void Engine::AttendLayer(uint32_t layer, uint32_t first_row, uint32_t row_count,
                         const Sequence& sequence) {
  const LayerWeights& weights = weights_.layer(layer);
  const uint32_t query_dim = config_.query_dim();
  MultiplyRows(weights.query, normed_, first_row, row_count, &query_);
  mixed_.resize(size_t{row_count} * query_dim);
  for (uint32_t row = first_row; row < row_count; ++row) {
    const uint32_t position = sequence.length + row;
    const std::span<float> query = Row(query_, row, query_dim);
    rope_.Rotate(position, query);
    attention_.Attend(cache_.layer(layer), sequence.blocks, position + 1, query,
                      Row(mixed_, row, query_dim));
  }
  AddProjection(weights.attention_output, mixed_, first_row, row_count);
}

void Engine::FeedForwardLayer(uint32_t layer, uint32_t first_row,
                              uint32_t row_count) {
  const LayerWeights& weights = weights_.layer(layer);
  NormRows(weights.feed_forward_gain, first_row, row_count);
  MultiplyRows(weights.gate, normed_, first_row, row_count, &gate_);
  MultiplyRows(weights.up, normed_, first_row, row_count, &up_);
  const size_t first = size_t{first_row} * config_.hidden_dim;
  SwiGlu(std::span<const float>(up_).subspan(first),
         std::span<float>(gate_).subspan(first));
  AddProjection(weights.down, gate_, first_row, row_count);
}

void Engine::ComputeLogits(uint32_t row) {
  const uint32_t dim = config_.model_dim;
  normed_.resize(std::max<size_t>(normed_.size(), dim));
  const std::span<float> normed = Row(normed_, 0, dim);
  RmsNorm(Row(state_, row, dim), weights_.final_gain(), config_.norm_epsilon,
          normed);
  Multiply(weights_.logits(), normed.data(), 1, logits_.data());
}

void Engine::NormRows(std::span<const float> gain, uint32_t first_row,
                      uint32_t row_count) {
  const uint32_t dim = config_.model_dim;
  normed_.resize(size_t{row_count} * dim);
  for (uint32_t row = first_row; row < row_count; ++row) {
    RmsNorm(Row(state_, row, dim), gain, config_.norm_epsilon,
            Row(normed_, row, dim));
  }
}

void Engine::AddProjection(const Matrix& matrix,
                           const std::vector<float>& inputs, uint32_t first_row,
                           uint32_t row_count) {
  MultiplyRows(matrix, inputs, first_row, row_count, &added_);
  const size_t first = size_t{first_row} * config_.model_dim;
  for (size_t i = first; i < added_.size(); ++i) state_[i] += added_[i];
}

}  // namespace kvferry::llama
