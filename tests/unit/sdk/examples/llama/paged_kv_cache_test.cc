#include "sdk/examples/llama/paged_kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace kvferry::llama {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PagedKvCacheTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kBlockTokens = 4;
  static constexpr uint32_t kBlockCount = 6;

  PagedKvCacheTest()
      : cache_(*PagedKvCache::Create(config_, kBlockTokens, kBlockCount)) {}

  ModelConfig config_{.layer_count = 3};
  std::unique_ptr<PagedKvCache> cache_;
};

TEST_F(PagedKvCacheTest, ReservesWholeBlocksAndOnlyMissingOnes) {
  Sequence sequence;

  ASSERT_TRUE(cache_->Reserve(5, &sequence).ok());
  EXPECT_THAT(sequence.blocks, SizeIs(2));
  ASSERT_TRUE(cache_->Reserve(8, &sequence).ok());
  EXPECT_THAT(sequence.blocks, SizeIs(2));
  ASSERT_TRUE(cache_->Reserve(9, &sequence).ok());
  EXPECT_THAT(sequence.blocks, SizeIs(3));
  EXPECT_EQ(cache_->free_count(), 3u);
}

TEST_F(PagedKvCacheTest, ARefusedReservationGivesNothing) {
  Sequence sequence;
  ASSERT_TRUE(cache_->Reserve(16, &sequence).ok());

  const absl::Status status = cache_->Reserve(28, &sequence);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("3 blocks wanted, 2 are free"));
  EXPECT_THAT(sequence.blocks, SizeIs(4));
  EXPECT_EQ(cache_->free_count(), 2u);
}

TEST_F(PagedKvCacheTest, NoBlockBelongsToTwoSequences) {
  Sequence first;
  Sequence second;
  ASSERT_TRUE(cache_->Reserve(12, &first).ok());
  ASSERT_TRUE(cache_->Reserve(12, &second).ok());

  std::set<uint32_t> blocks(first.blocks.begin(), first.blocks.end());
  blocks.insert(second.blocks.begin(), second.blocks.end());
  EXPECT_THAT(blocks, SizeIs(kBlockCount));

  cache_->Release(&first);
  EXPECT_THAT(first.blocks, IsEmpty());
  EXPECT_EQ(cache_->free_count(), 3u);
}

// Goal    The addresses of all tokens are distinct and follow the strides that
//         copies in and out are told.
// Method  Every key and value gets its own number; it is read back through
//         layer() and through data() with the byte strides.
TEST_F(PagedKvCacheTest, StridesReachEveryToken) {
  Sequence sequence;
  constexpr uint32_t kTokens = kBlockTokens * kBlockCount;
  ASSERT_TRUE(cache_->Reserve(kTokens, &sequence).ok());
  const auto number = [&](uint32_t layer, uint32_t kv, uint32_t token,
                          uint32_t i) {
    return static_cast<float>(
        ((layer * 2 + kv) * kTokens + token) * config_.kv_dim() + i);
  };
  for (uint32_t layer = 0; layer < config_.layer_count; ++layer) {
    for (uint32_t token = 0; token < kTokens; ++token) {
      for (uint32_t i = 0; i < config_.kv_dim(); ++i) {
        cache_->key(layer, sequence, token)[i] = number(layer, 0, token, i);
        cache_->value(layer, sequence, token)[i] = number(layer, 1, token, i);
      }
    }
  }

  for (uint32_t layer = 0; layer < config_.layer_count; ++layer) {
    const KvLayerView view = cache_->layer(layer);
    for (uint32_t token = 0; token < kTokens; ++token) {
      const uint32_t block = sequence.blocks[token / kBlockTokens];
      const uint32_t in_block = token % kBlockTokens;
      for (uint32_t i = 0; i < config_.kv_dim(); ++i) {
        const uint32_t head = i / config_.head_dim;
        const uint32_t dim = i % config_.head_dim;
        const size_t offset = block * view.block_stride +
                              in_block * view.token_stride +
                              head * view.head_stride + dim;
        ASSERT_EQ(view.keys[offset], number(layer, 0, token, i));
        ASSERT_EQ(view.values[offset], number(layer, 1, token, i));
        const std::byte* value =
            cache_->data() + layer * cache_->layer_stride_bytes() +
            cache_->kv_stride_bytes() + block * cache_->block_stride_bytes() +
            in_block * cache_->token_stride_bytes() +
            head * cache_->head_stride_bytes() + dim * sizeof(float);
        ASSERT_EQ(*reinterpret_cast<const float*>(value),
                  number(layer, 1, token, i));
      }
    }
  }
}

TEST_F(PagedKvCacheTest, RefusesImpossibleSizes) {
  EXPECT_THAT(
      std::string(PagedKvCache::Create(config_, 0, 1).status().message()),
      HasSubstr("block_tokens is 0"));
  EXPECT_THAT(
      std::string(PagedKvCache::Create(config_, config_.context_max + 1, 1)
                      .status()
                      .message()),
      HasSubstr("block_tokens is 8193, must be 1 to context_max 8192"));
  EXPECT_THAT(
      std::string(PagedKvCache::Create(config_, 16, 0).status().message()),
      HasSubstr("block_count is 0"));
  EXPECT_THAT(
      std::string(PagedKvCache::Create(config_, 16, ~0u).status().message()),
      HasSubstr("4294967295 blocks of 12288 bytes are over"));
}

}  // namespace
}  // namespace kvferry::llama
