#include "sdk/examples/llama/weights.h"

#include <cmath>

#include "sdk/examples/llama/random.h"

namespace kvferry::llama {
namespace {

constexpr float kAttentionScale = 1.5f;
constexpr float kLogitScale = 3.0f;

// Uniform numbers in [-bound, bound) have the deviation bound / sqrt(3); with
// that one over the square root of the inputs a product keeps its input's size.
Matrix RandomMatrix(uint32_t input_dim, uint32_t output_dim, float scale,
                    Random* random) {
  Matrix matrix(input_dim, output_dim);
  const float bound = scale * std::sqrt(3.0f / static_cast<float>(input_dim));
  for (uint32_t i = 0; i < input_dim; ++i) {
    for (uint32_t o = 0; o < output_dim; ++o) {
      matrix.at(i, o) = bound * random->Symmetric();
    }
  }
  return matrix;
}

// Gains near one, not one: a gain that is not applied must show.
std::vector<float> RandomGain(uint32_t dim, Random* random) {
  std::vector<float> gain(dim);
  for (float& value : gain) value = 1.0f + 0.25f * random->Symmetric();
  return gain;
}

LayerWeights RandomLayer(const ModelConfig& config, float residual_scale,
                         Random* random) {
  const uint32_t dim = config.model_dim;
  // Braced lists are evaluated in order, so the stream of random numbers is
  // dealt out in the order of the fields.
  return LayerWeights{
      RandomGain(dim, random),
      RandomMatrix(dim, config.query_dim(), kAttentionScale, random),
      RandomMatrix(dim, config.kv_dim(), kAttentionScale, random),
      RandomMatrix(dim, config.kv_dim(), 1.0f, random),
      RandomMatrix(config.query_dim(), dim, residual_scale, random),
      RandomGain(dim, random),
      RandomMatrix(dim, config.hidden_dim, 1.0f, random),
      RandomMatrix(dim, config.hidden_dim, 1.0f, random),
      RandomMatrix(config.hidden_dim, dim, residual_scale, random)};
}

}  // namespace

Weights::Weights(const ModelConfig& config)
    : config_(config), logits_(config.model_dim, config.vocabulary_size) {
  Random random(config.seed);
  embedding_.resize(size_t{config.vocabulary_size} * config.model_dim);
  const float bound = std::sqrt(3.0f);  // deviation one
  for (float& value : embedding_) value = bound * random.Symmetric();
  // The residual stream gets two additions a layer; together they weigh as much
  // as the embedding does.
  const float residual_scale =
      1.0f / std::sqrt(2.0f * static_cast<float>(config.layer_count));
  layers_.reserve(config.layer_count);
  for (uint32_t layer = 0; layer < config.layer_count; ++layer) {
    layers_.push_back(RandomLayer(config, residual_scale, &random));
  }
  final_gain_ = RandomGain(config.model_dim, &random);
  logits_ = RandomMatrix(config.model_dim, config.vocabulary_size, kLogitScale,
                         &random);
}

}  // namespace kvferry::llama
