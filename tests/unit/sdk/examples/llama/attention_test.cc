#include "sdk/examples/llama/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "sdk/examples/llama/random.h"
#include "tests/unit/sdk/examples/llama/reference_model.h"

namespace kvferry::llama {
namespace {

struct Shape {
  uint32_t head_count;
  uint32_t kv_head_count;
  uint32_t head_dim;
  uint32_t block_tokens;
};

// A cache full of random KV in layer 1 of 2, and a random query.
class AttentionTest : public ::testing::TestWithParam<Shape> {
 protected:
  static constexpr uint32_t kLayer = 1;
  static constexpr uint32_t kTokens = 41;

  void SetUp() override {
    const Shape shape = GetParam();
    config_.layer_count = 2;
    config_.head_count = shape.head_count;
    config_.kv_head_count = shape.kv_head_count;
    config_.head_dim = shape.head_dim;
    ASSERT_TRUE(config_.Validate().ok());
    cache_ = *PagedKvCache::Create(config_, shape.block_tokens,
                                   kTokens / shape.block_tokens + 2);
    ASSERT_TRUE(cache_->Reserve(kTokens, &sequence_).ok());
    Random random(9);
    for (uint32_t position = 0; position < kTokens; ++position) {
      float* key = cache_->key(kLayer, sequence_, position);
      float* value = cache_->value(kLayer, sequence_, position);
      for (uint32_t i = 0; i < config_.kv_dim(); ++i) {
        key[i] = 2.0f * random.Symmetric();
        value[i] = 2.0f * random.Symmetric();
      }
    }
    for (uint32_t i = 0; i < config_.query_dim(); ++i) {
      query_.push_back(2.0f * random.Symmetric());
    }
  }

  std::vector<float> Attend(uint32_t token_count, Attention* attention) {
    std::vector<float> output(config_.query_dim(), -1.0f);
    attention->Attend(cache_->layer(kLayer), sequence_.blocks, token_count,
                      query_, output);
    return output;
  }

  Vector Reference(uint32_t token_count) {
    Vector output;
    for (uint32_t head = 0; head < config_.head_count; ++head) {
      const uint32_t kv_head = head / config_.queries_per_kv_head();
      const uint32_t dim = config_.head_dim;
      std::vector<Vector> keys;
      std::vector<Vector> values;
      for (uint32_t position = 0; position < token_count; ++position) {
        const float* key =
            cache_->key(kLayer, sequence_, position) + kv_head * dim;
        const float* value =
            cache_->value(kLayer, sequence_, position) + kv_head * dim;
        keys.emplace_back(key, key + dim);
        values.emplace_back(value, value + dim);
      }
      const float* query = query_.data() + head * dim;
      const Vector head_output =
          ReferenceAttention(Vector(query, query + dim), keys, values);
      output.insert(output.end(), head_output.begin(), head_output.end());
    }
    return output;
  }

  ModelConfig config_;
  std::unique_ptr<PagedKvCache> cache_;
  Sequence sequence_;
  std::vector<float> query_;
};

TEST_P(AttentionTest, AgreesWithPlainDoublePrecision) {
  Attention attention(config_);
  for (uint32_t token_count = 1; token_count <= kTokens; ++token_count) {
    const std::vector<float> output = Attend(token_count, &attention);

    const Vector expected = Reference(token_count);
    for (size_t i = 0; i < output.size(); ++i) {
      ASSERT_NEAR(output[i], expected[i], 3e-6)
          << "element " << i << " after " << token_count << " tokens";
    }
  }
}

// Goal    Scratch memory of longer contexts does not leak into shorter ones,
//         and tokens past the end have no say.
// Method  The same answer, bit for bit, from a fresh object, from a used one,
//         and after the KV past the end was overwritten.
TEST_P(AttentionTest, SeesOnlyTheTokensItIsTold) {
  constexpr uint32_t kSeen = 18;
  Attention fresh(config_);
  const std::vector<float> expected = Attend(kSeen, &fresh);
  Attention used(config_);
  Attend(kTokens, &used);

  EXPECT_EQ(Attend(kSeen, &used), expected);

  for (uint32_t position = kSeen; position < kTokens; ++position) {
    cache_->key(kLayer, sequence_, position)[0] = 1e6f;
    cache_->value(kLayer, sequence_, position)[0] = 1e6f;
  }
  EXPECT_EQ(Attend(kSeen, &used), expected);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest,
                         ::testing::Values(Shape{8, 2, 16, 16},
                                           Shape{4, 4, 32, 7},
                                           Shape{3, 1, 48, 1},
                                           Shape{6, 2, 16, 64}));

}  // namespace
}  // namespace kvferry::llama
