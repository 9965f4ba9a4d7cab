#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_WEIGHTS_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_WEIGHTS_H_

#include <vector>

#include "sdk/examples/llama/matrix.h"
#include "sdk/examples/llama/model_config.h"

namespace kvferry::llama {

struct LayerWeights {
  std::vector<float> attention_gain;
  Matrix query;
  Matrix key;
  Matrix value;
  Matrix attention_output;
  std::vector<float> feed_forward_gain;
  Matrix gate;
  Matrix up;
  Matrix down;
};

// The model's parameters, made from the seed alone: every process that asks for
// the same configuration has the same model, without a file.
//
// Scales are those of a freshly initialised transformer, but for two: queries
// and keys are larger, so that attention prefers some tokens to others, and so
// is the last projection, so that logits are well apart.
class Weights {
 public:
  // REQUIRES  config.Validate() is OK
  explicit Weights(const ModelConfig& config);

  const ModelConfig& config() const { return config_; }
  // Row `token` of the embedding, model_dim numbers.
  const float* embedding(uint32_t token) const {
    return embedding_.data() + size_t{token} * config_.model_dim;
  }
  const LayerWeights& layer(uint32_t index) const { return layers_[index]; }
  const std::vector<float>& final_gain() const { return final_gain_; }
  const Matrix& logits() const { return logits_; }

 private:
  ModelConfig config_;
  std::vector<float> embedding_;
  std::vector<LayerWeights> layers_;
  std::vector<float> final_gain_;
  Matrix logits_;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_WEIGHTS_H_
