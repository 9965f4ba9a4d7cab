#include "sdk/examples/llama/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sdk/examples/llama/engine.h"

namespace kvferry::llama {
namespace {

using ::testing::HasSubstr;

uint64_t DigestOf(const Weights& weights) {
  uint64_t digest = 0;
  const auto add = [&](float value) {
    digest = digest * 31 + std::bit_cast<uint32_t>(value);
  };
  const auto add_matrix = [&](const Matrix& matrix) {
    for (uint32_t i = 0; i < matrix.input_dim(); ++i) {
      for (uint32_t o = 0; o < matrix.output_dim(); ++o) add(matrix.at(i, o));
    }
  };
  const ModelConfig& config = weights.config();
  for (uint32_t token = 0; token < config.vocabulary_size; ++token) {
    for (uint32_t i = 0; i < config.model_dim; ++i) {
      add(weights.embedding(token)[i]);
    }
  }
  for (uint32_t index = 0; index < config.layer_count; ++index) {
    const LayerWeights& layer = weights.layer(index);
    for (const float gain : layer.attention_gain) add(gain);
    for (const float gain : layer.feed_forward_gain) add(gain);
    for (const Matrix* matrix :
         {&layer.query, &layer.key, &layer.value, &layer.attention_output,
          &layer.gate, &layer.up, &layer.down}) {
      add_matrix(*matrix);
    }
  }
  for (const float gain : weights.final_gain()) add(gain);
  add_matrix(weights.logits());
  return digest;
}

TEST(WeightsTest, FollowFromTheSeed) {
  ModelConfig config;
  const uint64_t digest = DigestOf(Weights(config));

  EXPECT_EQ(DigestOf(Weights(config)), digest);
  config.seed = 2;
  EXPECT_NE(DigestOf(Weights(config)), digest);
}

TEST(WeightsTest, LayersDiffer) {
  const Weights weights{ModelConfig()};

  EXPECT_NE(weights.layer(0).query.at(0, 0), weights.layer(1).query.at(0, 0));
  EXPECT_NE(weights.layer(0).key.at(0, 0), weights.layer(0).value.at(0, 0));
}

// Goal    The default model's numbers stay in a sensible range: logits are
//         finite and well apart.
// Method  200 tokens; the deviation of the last one's logits.
TEST(WeightsTest, LogitsAreWellSpread) {
  const ModelConfig config;
  const Weights weights(config);
  const std::unique_ptr<PagedKvCache> cache =
      *PagedKvCache::Create(config, 16, 13);
  Engine engine(&weights, cache.get());
  Sequence sequence;
  std::vector<uint32_t> tokens;
  for (uint32_t i = 0; i < 200; ++i) tokens.push_back(i * i % 251);

  ASSERT_TRUE(engine.Forward(tokens, &sequence).ok());

  double sum = 0;
  double squares = 0;
  for (const float logit : engine.logits()) {
    ASSERT_TRUE(std::isfinite(logit));
    sum += logit;
    squares += double{logit} * logit;
  }
  const double count = config.vocabulary_size;
  const double deviation =
      std::sqrt(squares / count - (sum / count) * (sum / count));
  EXPECT_GT(deviation, 1.5);
  EXPECT_LT(deviation, 6.0);
}

TEST(ModelConfigTest, AcceptsTheDefault) {
  EXPECT_TRUE(ModelConfig().Validate().ok());
}

TEST(ModelConfigTest, NamesTheValueAndTheLimit) {
  const auto error = [](auto change) {
    ModelConfig config;
    change(config);
    return std::string(config.Validate().message());
  };

  EXPECT_THAT(error([](ModelConfig& c) { c.layer_count = 0; }),
              HasSubstr("layer_count is 0, must be 1 to 128"));
  EXPECT_THAT(error([](ModelConfig& c) { c.vocabulary_size = 257; }),
              HasSubstr("vocabulary_size is 257, must be 1 to 256"));
  EXPECT_THAT(error([](ModelConfig& c) { c.kv_head_count = 3; }),
              HasSubstr("head_count 8 is not a multiple of kv_head_count 3"));
  EXPECT_THAT(error([](ModelConfig& c) { c.head_dim = 24; }),
              HasSubstr("head_dim 24 is not a multiple of 16"));
  EXPECT_THAT(error([](ModelConfig& c) { c.context_max = 1 << 21; }),
              HasSubstr("context_max is 2097152, must be 1 to 1048576"));
}

// Two models that compute different numbers must have different fingerprints.
TEST(ModelConfigTest, DescribesWhatDecidesTheNumbers) {
  const std::string description = ModelConfig().Describe();
  const auto described = [](auto change) {
    ModelConfig config;
    change(config);
    return config.Describe();
  };

  EXPECT_NE(described([](ModelConfig& c) { c.seed = 2; }), description);
  EXPECT_NE(described([](ModelConfig& c) { c.hidden_dim = 351; }), description);
  EXPECT_NE(described([](ModelConfig& c) { c.head_count = 4; }), description);
  EXPECT_NE(described([](ModelConfig& c) { c.rope_theta = 5e5f; }),
            description);
  EXPECT_NE(described([](ModelConfig& c) { c.norm_epsilon = 1e-6f; }),
            description);
}

}  // namespace
}  // namespace kvferry::llama
