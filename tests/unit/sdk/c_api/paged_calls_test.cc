#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "kvferry/kvferry.h"

namespace kvferry::c_api {
namespace {

using testing::HasSubstr;

constexpr uint32_t kLayers = 2;
constexpr uint32_t kTokens = 4;
constexpr uint32_t kHeads = 2;  // of a slice
constexpr uint32_t kHeadBytes = 8;
constexpr uint32_t kSlices = 2;
constexpr uint32_t kBlocks = 5;
constexpr size_t kTokenBytes = size_t{kHeads} * kSlices * kHeadBytes;
constexpr size_t kBlockBytes = kTokens * kTokenBytes;
constexpr size_t kPageBytes =
    size_t{kLayers} * 2 * kTokens * kHeads * kHeadBytes;

// An engine with a layer's K of all blocks before its V, in a vector a layer.
class PagedCallsTest : public testing::Test {
 protected:
  PagedCallsTest() {
    group_.size = sizeof(group_);
    group_.name = "full";
    group_.block_tokens = kTokens;
    group_.layer_count = kLayers;
    group_.kv_count = 2;
    group_.head_count = kHeads;
    group_.head_bytes = kHeadBytes;
    group_.slice_count = kSlices;
    for (uint32_t i = 0; i < kLayers; ++i) {
      memory_[i].resize(2 * kBlocks * kBlockBytes);
      for (size_t at = 0; at < memory_[i].size(); ++at) {
        memory_[i][at] = static_cast<uint8_t>(at * 7 + i * 31);
      }
      layers_[i] = {.size = sizeof(kvf_paged_layer),
                    .base = memory_[i].data(),
                    .kv_stride = kBlocks * kBlockBytes,
                    .block_stride = kBlockBytes,
                    .token_stride = kTokenBytes,
                    .head_stride = kHeadBytes};
    }
    options_.size = sizeof(options_);
    options_.group = &group_;
    options_.layers = layers_.data();
    options_.layer_count = kLayers;
    options_.block_count = kBlocks;
  }

  // Where the engine keeps one head, as the header's formula has it.
  const uint8_t* Head(uint32_t layer, uint32_t kv, uint32_t block,
                      uint32_t token, uint32_t head) const {
    return memory_[layer].data() + kv * kBlocks * kBlockBytes +
           block * kBlockBytes + token * kTokenBytes + head * kHeadBytes;
  }

  kvf_group_spec group_ = {};
  std::array<std::vector<uint8_t>, kLayers> memory_;
  std::array<kvf_paged_layer, kLayers> layers_;
  kvf_paged_options options_ = {};
};

TEST_F(PagedCallsTest, APageIsGatheredByTheFormula) {
  kvf_paged* paged = nullptr;
  ASSERT_EQ(kvf_paged_create(&options_, &paged), KVF_OK);
  constexpr uint32_t kBlock = 3;
  constexpr uint32_t kSlice = 1;
  std::array<uint8_t, kPageBytes> page = {};

  ASSERT_EQ(
      kvf_paged_gather(paged, kBlock, kSlice, page.data(), page.size(), 0),
      KVF_OK);

  const uint8_t* at = page.data();
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    for (uint32_t kv = 0; kv < 2; ++kv) {
      for (uint32_t token = 0; token < kTokens; ++token) {
        for (uint32_t head = 0; head < kHeads; ++head) {
          EXPECT_EQ(
              std::memcmp(
                  at, Head(layer, kv, kBlock, token, kSlice * kHeads + head),
                  kHeadBytes),
              0);
          at += kHeadBytes;
        }
      }
    }
  }
  kvf_paged_destroy(paged);
}

TEST_F(PagedCallsTest, WhatIsScatteredIsWhatWasGathered) {
  kvf_paged* paged = nullptr;
  ASSERT_EQ(kvf_paged_create(&options_, &paged), KVF_OK);
  const std::vector<uint8_t> first_layer = memory_[0];
  for (uint32_t slice = 0; slice < kSlices; ++slice) {
    std::array<uint8_t, kPageBytes> page = {};
    ASSERT_EQ(kvf_paged_gather(paged, 2, slice, page.data(), page.size(), 0),
              KVF_OK);
    ASSERT_EQ(kvf_paged_scatter(paged, 4, slice, page.data(), page.size(), 0),
              KVF_OK);
  }
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    for (uint32_t kv = 0; kv < 2; ++kv) {
      EXPECT_EQ(std::memcmp(Head(layer, kv, 2, 0, 0), Head(layer, kv, 4, 0, 0),
                            kBlockBytes),
                0);
    }
  }
  // Nothing but block 4's K and V.
  for (size_t at = 0; at < first_layer.size(); ++at) {
    if (at / kBlockBytes % kBlocks == 4) continue;
    ASSERT_EQ(memory_[0][at], first_layer[at]) << at;
  }
  kvf_paged_destroy(paged);
}

TEST_F(PagedCallsTest, WhatIsNotThereIsRefused) {
  kvf_paged* paged = nullptr;
  ASSERT_EQ(kvf_paged_create(&options_, &paged), KVF_OK);
  std::array<uint8_t, kPageBytes> page = {};
  EXPECT_EQ(kvf_paged_gather(paged, kBlocks, 0, page.data(), page.size(), 0),
            KVF_INVALID_ARGUMENT);
  EXPECT_THAT(kvf_error_message(), HasSubstr("5"));
  EXPECT_EQ(kvf_paged_gather(paged, 0, kSlices, page.data(), page.size(), 0),
            KVF_INVALID_ARGUMENT);
  EXPECT_EQ(kvf_paged_scatter(paged, 0, 0, page.data(), page.size() - 1, 0),
            KVF_INVALID_ARGUMENT);
  EXPECT_EQ(
      kvf_paged_scatter(paged, 0, 0, page.data(), page.size(), kTokens + 1),
      KVF_INVALID_ARGUMENT);
  EXPECT_EQ(kvf_paged_gather(paged, 0, 0, nullptr, page.size(), 0),
            KVF_INVALID_ARGUMENT);
  EXPECT_THAT(kvf_error_message(), HasSubstr("page is null"));
  kvf_paged_destroy(paged);
}

TEST_F(PagedCallsTest, AWrongDescriptionIsRefusedByName) {
  kvf_paged* paged = nullptr;
  const auto refused = [&](const kvf_paged_options& options) {
    EXPECT_EQ(kvf_paged_create(&options, &paged), KVF_INVALID_ARGUMENT);
    EXPECT_EQ(paged, nullptr);
    return std::string(kvf_error_message());
  };
  kvf_paged_options options = options_;
  options.layer_count = 3;
  EXPECT_THAT(refused(options),
              HasSubstr("kvf_paged_options.layer_count is 3, the group has 2"));
  options = options_;
  options.layers = nullptr;
  EXPECT_THAT(refused(options), HasSubstr("kvf_paged_options.layers is null"));
  options = options_;
  options.group = nullptr;
  EXPECT_THAT(refused(options), HasSubstr("kvf_group_spec is null"));
  options = options_;
  options.slice_first = 2;
  refused(options);
  options = options_;
  options.sub_blocks = 3;
  EXPECT_THAT(refused(options), HasSubstr("3"));
  group_.rule = 3;
  EXPECT_THAT(refused(options_), HasSubstr("kvf_group_spec.rule is 3"));
  group_.rule = KVF_HIT_ALL_PREFIX;
  layers_[1].base = nullptr;
  refused(options_);
  layers_[1].base = memory_[1].data();

  options = options_;
  options.reserved = 1;
  EXPECT_EQ(kvf_paged_create(&options, &paged), KVF_UNIMPLEMENTED);
  EXPECT_THAT(kvf_error_message(), HasSubstr("kvf_paged_options.reserved"));
}

TEST(CopyTest, CopiesAnySize) {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{4097}, size_t{1} << 20}) {
    std::vector<uint8_t> source(bytes);
    for (size_t i = 0; i < bytes; ++i) source[i] = static_cast<uint8_t>(i * 5);
    std::vector<uint8_t> target(bytes);
    kvf_copy(target.data(), source.data(), bytes);
    EXPECT_EQ(target, source);
  }
}

}  // namespace
}  // namespace kvferry::c_api
