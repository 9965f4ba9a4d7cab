#include "kvferry/key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <cstring>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace kvferry {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The serialisation of key.h, written a second time: byte by byte, into a
// string, hashed at once.
std::string U32(uint32_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) {
    bytes.push_back(static_cast<char>(value >> shift));
  }
  return bytes;
}
std::string U64(uint64_t value) {
  return U32(static_cast<uint32_t>(value)) +
         U32(static_cast<uint32_t>(value >> 32));
}
uint64_t LittleEndian64(const unsigned char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}
std::string Sha256Of(const std::string& message) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(message.data()), message.size(),
         digest);
  return std::string(reinterpret_cast<const char*>(digest), sizeof(digest));
}
BlockKey OneShot(const std::string& message) {
  const std::string digest = Sha256Of(message);
  const auto* const bytes =
      reinterpret_cast<const unsigned char*>(digest.data());
  return BlockKey{LittleEndian64(bytes), LittleEndian64(bytes + 8)};
}
std::string SaltBytes(const NamespaceSalt& salt) {
  return std::string(reinterpret_cast<const char*>(salt.data()), salt.size());
}
BlockKey ExpectedKey(const NamespaceSalt& salt, uint32_t group,
                     const BlockKey& parent,
                     const std::vector<uint32_t>& tokens,
                     const std::string& extra) {
  std::string message =
      Sha256Of("kvferry-key-1" + SaltBytes(salt) + U32(group)) +
      U64(parent.lo) + U64(parent.hi) +
      U32(static_cast<uint32_t>(tokens.size()));
  for (const uint32_t token : tokens) message += U32(token);
  message += extra;
  return OneShot(message);
}

NamespaceSalt SaltOf(uint32_t seed) {
  std::mt19937 random(seed);
  NamespaceSalt salt;
  for (std::byte& byte : salt) byte = static_cast<std::byte>(random());
  return salt;
}

std::vector<uint32_t> Tokens(size_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<uint32_t> tokens(count);
  for (uint32_t& token : tokens) token = static_cast<uint32_t>(random());
  return tokens;
}

std::vector<std::byte> Digest(std::initializer_list<int> values) {
  std::vector<std::byte> digest;
  for (const int value : values)
    digest.push_back(static_cast<std::byte>(value));
  return digest;
}

TEST(BlockKeyTest, HexIsInDigestOrder) {
  const BlockKey key{0x0807060504030201, 0x100f0e0d0c0b0a09};

  EXPECT_EQ(ToHex(key), "0102030405060708090a0b0c0d0e0f10");
  EXPECT_EQ(ParseBlockKey("0102030405060708090a0b0c0d0e0f10").value(), key);
  EXPECT_EQ(ParseBlockKey("0102030405060708090A0B0C0D0E0F10").value(), key);
}

TEST(BlockKeyTest, ParseNamesWhatIsWrong) {
  const auto expect_refused = [](const std::string& hex,
                                 const std::string& reason) {
    const absl::StatusOr<BlockKey> key = ParseBlockKey(hex);
    ASSERT_FALSE(key.ok()) << hex;
    EXPECT_EQ(key.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(key.status().message()), HasSubstr(reason));
  };
  expect_refused("", "\"\" has 0 digits, need 32");
  expect_refused("0102", "\"0102\" has 4 digits, need 32");
  expect_refused(std::string(34, '0'), "has 34 digits, need 32");
  expect_refused(std::string(30, '0') + "0g", "\"0g\" at digit 30");
  expect_refused(" " + std::string(31, '0'), "at digit 0");
}

TEST(KeyHasherTest, HashesTheDocumentedBytes) {
  const NamespaceSalt salt = SaltOf(7);
  const BlockKey parent{0x1122334455667788, 0x99aabbccddeeff00};
  for (const uint32_t group : {0u, 1u, 15u, 0xdeadbeefu}) {
    KeyHasher hasher(salt, group, 16);
    for (const size_t count : {size_t{0}, size_t{1}, size_t{15}, size_t{16},
                               size_t{17}, size_t{1000}}) {
      for (const std::string& extra :
           {std::string(), std::string("adapter-3"), std::string("a\0b", 3),
            std::string(5000, 'x')}) {
        const std::vector<uint32_t> tokens = Tokens(count);
        EXPECT_EQ(hasher.HashBlock(parent, tokens, extra),
                  ExpectedKey(salt, group, parent, tokens, extra))
            << "group " << group << ", " << count << " tokens, extra of "
            << extra.size() << " bytes";
      }
    }
  }
}

TEST(KeyHasherTest, HasAKnownAnswer) {
  // Python: group = sha256(b"kvferry-key-1" + bytes(36)).digest()
  //         sha256(group + bytes(16) +
  //                struct.pack("<5I", 4, 1, 2, 3, 4)).hexdigest()[:32]
  KeyHasher hasher(NamespaceSalt{}, 0, 4);
  const std::vector<uint32_t> tokens = {1, 2, 3, 4};

  EXPECT_EQ(ToHex(hasher.HashBlock({}, tokens)),
            "31d910683162833ac3865800d931f05d");
}

TEST(KeyHasherTest, ChainsFullBlocksAndIgnoresTheRest) {
  const NamespaceSalt salt = SaltOf(3);
  const std::vector<uint32_t> tokens = Tokens(16 * 3 + 5);
  KeyHasher hasher(salt, 2, 16);
  std::vector<BlockKey> keys;

  hasher.HashBlocks({}, tokens, &keys, "lora");

  const auto block = [&](size_t i) {
    return std::vector<uint32_t>(tokens.begin() + i * 16,
                                 tokens.begin() + (i + 1) * 16);
  };
  const BlockKey first = ExpectedKey(salt, 2, {}, block(0), "lora");
  const BlockKey second = ExpectedKey(salt, 2, first, block(1), "lora");
  const BlockKey third = ExpectedKey(salt, 2, second, block(2), "lora");
  EXPECT_THAT(keys, ElementsAre(first, second, third));
}

TEST(KeyHasherTest, AppendsAndMayContinueFromItsOwnOutput) {
  const std::vector<uint32_t> tokens = Tokens(64 * 16);
  KeyHasher hasher(SaltOf(3), 0, 16);
  std::vector<BlockKey> whole;
  hasher.HashBlocks({}, tokens, &whole);

  std::vector<BlockKey> grown;
  hasher.HashBlocks({}, std::span(tokens).first(16), &grown);
  for (size_t i = 1; i < 64; ++i) {
    hasher.HashBlocks(grown.back(), std::span(tokens).subspan(i * 16, 16),
                      &grown);
  }

  EXPECT_EQ(grown, whole);
}

TEST(KeyHasherTest, FewerTokensThanABlockMakeNoKeys) {
  KeyHasher hasher(SaltOf(3), 0, 16);
  std::vector<BlockKey> keys;

  hasher.HashBlocks({}, Tokens(15), &keys);

  EXPECT_TRUE(keys.empty());
}

TEST(KeyHasherTest, EverythingThatDecidesTheBytesDecidesTheKey) {
  const std::vector<uint32_t> tokens = Tokens(16);
  std::vector<uint32_t> other_tokens = tokens;
  other_tokens[15] ^= 1;
  KeyHasher hasher(SaltOf(1), 0, 16);
  KeyHasher other_salt(SaltOf(2), 0, 16);
  KeyHasher other_group(SaltOf(1), 1, 16);

  const std::set<BlockKey> keys = {
      hasher.HashBlock({}, tokens),
      hasher.HashBlock({1, 0}, tokens),
      hasher.HashBlock({0, 1}, tokens),
      hasher.HashBlock({}, other_tokens),
      hasher.HashBlock({}, std::span(tokens).first(15)),  // a tail block
      hasher.HashBlock({}, tokens, "a"),
      hasher.HashBlock({}, tokens, "b"),
      other_salt.HashBlock({}, tokens),
      other_group.HashBlock({}, tokens),
  };

  EXPECT_EQ(keys.size(), 9u);
}

TEST(KeyHasherTest, TokensAndExtraCannotStandForEachOther) {
  KeyHasher hasher(SaltOf(1), 0, 16);
  const std::vector<uint32_t> two = {0, 0};
  const std::vector<uint32_t> one = {0};

  EXPECT_NE(hasher.HashBlock({}, two), hasher.HashBlock({}, one, U32(0)));
}

TEST(KeyHasherTest, AMovedHasherGoesOn) {
  const std::vector<uint32_t> tokens = Tokens(16);
  KeyHasher first(SaltOf(1), 0, 16);
  const BlockKey before = first.HashBlock({}, tokens);

  KeyHasher second = std::move(first);
  EXPECT_EQ(second.HashBlock({}, tokens), before);

  KeyHasher third(SaltOf(9), 4, 2);
  third = std::move(second);
  EXPECT_EQ(third.HashBlock({}, tokens), before);
}

TEST(KeyFromDigestTest, ACryptographicDigestIsCutForGroupZero) {
  const std::vector<std::byte> digest =
      Digest({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18});

  const absl::StatusOr<BlockKey> key =
      KeyFromDigest(SaltOf(1), 0, DigestKind::kCryptographic, digest);

  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(ToHex(*key), "0102030405060708090a0b0c0d0e0f10");
  EXPECT_EQ(*KeyFromDigest(SaltOf(2), 0, DigestKind::kCryptographic,
                           std::span(digest).first(16)),
            *key);
}

TEST(KeyFromDigestTest, GroupsSeparateACryptographicDigest) {
  const std::vector<std::byte> digest(32, std::byte{0x5a});
  std::set<BlockKey> keys;
  std::set<uint32_t> upper;

  for (uint32_t group = 0; group < 1000; ++group) {
    const BlockKey key =
        *KeyFromDigest(SaltOf(1), group, DigestKind::kCryptographic, digest);
    keys.insert(key);
    upper.insert(static_cast<uint32_t>(key.hi >> 32));
  }

  EXPECT_EQ(keys.size(), 1000u);
  // The index takes a bucket from these bits, so they must differ too.
  EXPECT_EQ(upper.size(), 1000u);
}

TEST(KeyFromDigestTest, OtherDigestsAreHashedWithSaltAndGroup) {
  const NamespaceSalt salt = SaltOf(5);
  for (const size_t size : {size_t{1}, size_t{8}, size_t{16}, size_t{500}}) {
    const std::vector<std::byte> digest(size, std::byte{7});
    for (const uint32_t group : {0u, 3u}) {
      const absl::StatusOr<BlockKey> key =
          KeyFromDigest(salt, group, DigestKind::kOther, digest);
      ASSERT_TRUE(key.ok()) << key.status();
      EXPECT_EQ(*key, OneShot("kvferry-digest-1" + SaltBytes(salt) +
                              U32(group) + U32(static_cast<uint32_t>(size)) +
                              std::string(size, '\7')));
    }
  }
}

TEST(KeyFromDigestTest, NoKeyIsNone) {
  const std::vector<std::byte> zeros(32);

  const absl::StatusOr<BlockKey> key =
      KeyFromDigest(NamespaceSalt{}, 0, DigestKind::kCryptographic, zeros);

  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_FALSE(key->is_none());
  EXPECT_EQ(*KeyFromDigest(SaltOf(4), 0, DigestKind::kCryptographic, zeros),
            *key);
}

TEST(KeyFromDigestTest, RefusesDigestsThatAreTooShort) {
  const std::vector<std::byte> digest(15, std::byte{1});

  const absl::Status short_one =
      KeyFromDigest(SaltOf(1), 0, DigestKind::kCryptographic, digest).status();
  const absl::Status empty =
      KeyFromDigest(SaltOf(1), 0, DigestKind::kOther, {}).status();

  EXPECT_EQ(short_one.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(short_one.message()),
              HasSubstr("15 bytes, need at least 16"));
  EXPECT_EQ(empty.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(empty.message()), HasSubstr("0 bytes"));
}

}  // namespace
}  // namespace kvferry
