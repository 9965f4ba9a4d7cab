#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "kvferry/key.h"
#include "kvferry/kvferry.h"

namespace kvferry::c_api {
namespace {

using testing::HasSubstr;

constexpr uint32_t kBlockTokens = 16;

class KeyCallsTest : public testing::Test {
 protected:
  KeyCallsTest() {
    for (size_t i = 0; i < salt_.size(); ++i) {
      salt_[i] = static_cast<uint8_t>(i * 7);
    }
    std::memcpy(cpp_salt_.data(), salt_.data(), salt_.size());
    for (uint32_t i = 0; i < 100; ++i) tokens_.push_back(i * i);
    EXPECT_EQ(kvf_hasher_create_for(salt_.data(), 3, kBlockTokens, &hasher_),
              KVF_OK);
  }
  ~KeyCallsTest() override { kvf_hasher_destroy(hasher_); }

  static BlockKey FromC(const kvf_key& key) { return {key.lo, key.hi}; }

  std::array<uint8_t, 32> salt_;
  NamespaceSalt cpp_salt_;
  std::vector<uint32_t> tokens_;
  kvf_hasher* hasher_ = nullptr;
};

TEST_F(KeyCallsTest, HexIsThereAndBack) {
  const kvf_key key = {0x0123456789abcdef, 42};
  char hex[33];
  ASSERT_EQ(kvf_key_to_hex(&key, hex), KVF_OK);
  EXPECT_EQ(hex, ToHex(BlockKey{key.lo, key.hi}));
  EXPECT_EQ(std::strlen(hex), 32u);

  kvf_key back = {};
  ASSERT_EQ(kvf_key_from_hex(hex, &back), KVF_OK);
  EXPECT_EQ(FromC(back), FromC(key));

  EXPECT_EQ(kvf_key_from_hex("12zz", &back), KVF_INVALID_ARGUMENT);
  EXPECT_THAT(kvf_error_message(), HasSubstr("12zz"));
  EXPECT_EQ(FromC(back), FromC(key));
}

TEST_F(KeyCallsTest, KeysAreThoseOfTheCppHasher) {
  KeyHasher cpp(cpp_salt_, 3, kBlockTokens);
  const BlockKey parent = {1, 2};
  std::vector<BlockKey> expected;
  cpp.HashBlocks(parent, tokens_, &expected, "adapter");
  ASSERT_EQ(expected.size(), 6u);

  const kvf_key c_parent = {1, 2};
  std::vector<kvf_key> keys(expected.size());
  size_t count = 0;
  ASSERT_EQ(
      kvf_hasher_hash_blocks(hasher_, &c_parent, tokens_.data(), tokens_.size(),
                             {"adapter", 7}, keys.data(), keys.size(), &count),
      KVF_OK);
  ASSERT_EQ(count, expected.size());
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(FromC(keys[i]), expected[i]);

  kvf_key tail = {};
  ASSERT_EQ(kvf_hasher_hash_block(hasher_, &keys.back(), tokens_.data() + 96, 4,
                                  {"adapter", 7}, &tail),
            KVF_OK);
  EXPECT_EQ(FromC(tail), cpp.HashBlock(expected.back(),
                                       {tokens_.data() + 96, 4}, "adapter"));
}

TEST_F(KeyCallsTest, ARoomThatIsTooSmallIsNotWrittenTo) {
  std::vector<kvf_key> keys(5, kvf_key{9, 9});
  size_t count = 0;
  EXPECT_EQ(kvf_hasher_hash_blocks(hasher_, nullptr, tokens_.data(),
                                   tokens_.size(), {}, keys.data(), 5, &count),
            KVF_OUT_OF_RANGE);
  EXPECT_THAT(kvf_error_message(), HasSubstr("capacity is 5"));
  EXPECT_EQ(count, 6u);
  for (const kvf_key& key : keys) EXPECT_EQ(FromC(key), (BlockKey{9, 9}));
  // Asking for the number alone.
  EXPECT_EQ(kvf_hasher_hash_blocks(hasher_, nullptr, tokens_.data(),
                                   tokens_.size(), {}, nullptr, 0, &count),
            KVF_OUT_OF_RANGE);
  EXPECT_EQ(count, 6u);
  // No full block is no key, and no error.
  EXPECT_EQ(kvf_hasher_hash_blocks(hasher_, nullptr, tokens_.data(), 15, {},
                                   nullptr, 0, &count),
            KVF_OK);
  EXPECT_EQ(count, 0u);
}

TEST_F(KeyCallsTest, WhatIsNoBlockIsRefused) {
  kvf_key key = {};
  for (size_t tokens : {size_t{0}, size_t{17}}) {
    EXPECT_EQ(kvf_hasher_hash_block(hasher_, nullptr, tokens_.data(), tokens,
                                    {}, &key),
              KVF_INVALID_ARGUMENT);
    EXPECT_THAT(kvf_error_message(), HasSubstr("must be 1 to 16"));
  }
  kvf_hasher* none = hasher_;
  for (uint32_t block_tokens : {0u, 65537u}) {
    EXPECT_EQ(kvf_hasher_create_for(salt_.data(), 0, block_tokens, &none),
              KVF_INVALID_ARGUMENT);
    EXPECT_EQ(none, nullptr);
  }
  EXPECT_EQ(kvf_hasher_hash_block(hasher_, nullptr, tokens_.data(), 16,
                                  {nullptr, 4}, &key),
            KVF_INVALID_ARGUMENT);
  EXPECT_THAT(kvf_error_message(), HasSubstr("extra.data is null"));
}

TEST_F(KeyCallsTest, DigestsLieAStrideApart) {
  constexpr size_t kStride = 40;
  std::array<std::byte, 3 * kStride> digests;
  for (size_t i = 0; i < digests.size(); ++i) digests[i] = std::byte(i * 3);
  for (const auto& [c_kind, kind] :
       {std::pair{KVF_DIGEST_CRYPTOGRAPHIC, DigestKind::kCryptographic},
        std::pair{KVF_DIGEST_OTHER, DigestKind::kOther}}) {
    std::array<kvf_key, 3> keys;
    ASSERT_EQ(kvf_keys_from_digests(salt_.data(), 2, c_kind, digests.data(), 32,
                                    kStride, keys.size(), keys.data()),
              KVF_OK);
    for (size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(FromC(keys[i]),
                *KeyFromDigest(cpp_salt_, 2, kind,
                               {digests.data() + i * kStride, 32}));
    }
  }
  std::array<kvf_key, 3> keys;
  EXPECT_EQ(
      kvf_keys_from_digests(salt_.data(), 0, KVF_DIGEST_CRYPTOGRAPHIC,
                            digests.data(), 32, 31, keys.size(), keys.data()),
      KVF_INVALID_ARGUMENT);
  EXPECT_THAT(kvf_error_message(), HasSubstr("stride is 31"));
  EXPECT_EQ(kvf_keys_from_digests(salt_.data(), 0, /*kind=*/2, digests.data(),
                                  32, 32, 1, keys.data()),
            KVF_INVALID_ARGUMENT);
  EXPECT_EQ(kvf_keys_from_digests(salt_.data(), 0, KVF_DIGEST_CRYPTOGRAPHIC,
                                  digests.data(), 8, 8, 1, keys.data()),
            KVF_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace kvferry::c_api
