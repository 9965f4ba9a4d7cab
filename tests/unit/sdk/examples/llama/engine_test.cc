#include "sdk/examples/llama/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "sdk/examples/llama/random.h"
#include "tests/unit/sdk/examples/llama/reference_model.h"

namespace kvferry::llama {
namespace {

using ::testing::HasSubstr;

ModelConfig SmallModel() {
  ModelConfig config;
  config.layer_count = 2;
  config.model_dim = 48;
  config.head_count = 4;
  config.kv_head_count = 2;
  config.hidden_dim = 72;
  config.context_max = 256;
  return config;
}

std::vector<uint32_t> RandomTokens(uint32_t count) {
  Random random(77);
  std::vector<uint32_t> tokens(count);
  for (uint32_t& token : tokens) token = random.Next() % 256;
  return tokens;
}

// One engine with its own weights, cache and sequence.
struct Machine {
  explicit Machine(const ModelConfig& config = SmallModel(),
                   uint32_t block_tokens = 16)
      : weights(config),
        cache(*PagedKvCache::Create(config, block_tokens,
                                    config.context_max / block_tokens + 1)),
        engine(&weights, cache.get()) {}

  void Run(std::span<const uint32_t> tokens, uint32_t chunk_tokens) {
    while (!tokens.empty()) {
      const size_t count = std::min<size_t>(chunk_tokens, tokens.size());
      const absl::Status status =
          engine.Forward(tokens.first(count), &sequence);
      ASSERT_TRUE(status.ok()) << status;
      tokens = tokens.subspan(count);
    }
  }

  std::vector<float> Logits() const {
    return {engine.logits().begin(), engine.logits().end()};
  }

  // All KV of the sequence, token after token.
  std::vector<float> Kv() {
    const ModelConfig& config = weights.config();
    std::vector<float> all;
    for (uint32_t position = 0; position < sequence.length; ++position) {
      for (uint32_t layer = 0; layer < config.layer_count; ++layer) {
        const float* key = cache->key(layer, sequence, position);
        const float* value = cache->value(layer, sequence, position);
        all.insert(all.end(), key, key + config.kv_dim());
        all.insert(all.end(), value, value + config.kv_dim());
      }
    }
    return all;
  }

  Weights weights;
  std::unique_ptr<PagedKvCache> cache;
  Engine engine;
  Sequence sequence;
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(EngineTest, AgreesWithTheTextbookInDoublePrecision) {
  const std::vector<uint32_t> tokens = RandomTokens(45);
  Machine machine;

  machine.Run(tokens, 13);

  const Vector expected = ReferenceLogits(machine.weights, tokens);
  const std::vector<float> logits = machine.Logits();
  ASSERT_EQ(logits.size(), expected.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(logits[i], expected[i], 5e-5) << "token " << i;
  }
}

// Goal    How a prompt is cut into chunks changes no bit of KV or logits.
// Method  Several chunk sizes and two block sizes against one token at a time.
TEST(EngineTest, ChunksChangeNoBit) {
  const std::vector<uint32_t> tokens = RandomTokens(150);
  Machine single;
  single.Run(tokens, 1);

  for (const uint32_t block_tokens : {5u, 16u}) {
    for (const uint32_t chunk_tokens : {2u, 7u, 16u, 33u, 64u, 150u}) {
      Machine machine(SmallModel(), block_tokens);
      machine.Run(tokens, chunk_tokens);

      EXPECT_TRUE(SameBits(machine.Logits(), single.Logits()))
          << "chunks of " << chunk_tokens;
      EXPECT_TRUE(SameBits(machine.Kv(), single.Kv()))
          << "chunks of " << chunk_tokens;
    }
  }
}

// Goal    Who is told of a layer finds the whole chunk's KV of it in the cache.
// Method  At each call the chunk's KV of that layer is compared with that of
//         another engine, which has computed all of it.
TEST(EngineTest, TheHookIsToldOfEachLayerWhenItsKvIsInTheCache) {
  const std::vector<uint32_t> tokens = RandomTokens(40);
  Machine whole;
  whole.Run(tokens, 40);
  Machine machine;
  machine.Run(std::span(tokens).first(10), 10);
  const size_t kv_bytes = SmallModel().kv_dim() * sizeof(float);
  std::vector<uint32_t> layers;

  const absl::Status status = machine.engine.Forward(
      std::span(tokens).subspan(10), &machine.sequence, [&](uint32_t layer) {
        layers.push_back(layer);
        for (uint32_t position = 0; position < 40; ++position) {
          EXPECT_EQ(
              std::memcmp(machine.cache->key(layer, machine.sequence, position),
                          whole.cache->key(layer, whole.sequence, position),
                          kv_bytes),
              0)
              << "layer " << layer << ", position " << position;
          EXPECT_EQ(std::memcmp(
                        machine.cache->value(layer, machine.sequence, position),
                        whole.cache->value(layer, whole.sequence, position),
                        kv_bytes),
                    0)
              << "layer " << layer << ", position " << position;
        }
        return absl::OkStatus();
      });

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(layers, (std::vector<uint32_t>{0, 1}));
  EXPECT_TRUE(SameBits(machine.Logits(), whole.Logits()));
}

TEST(EngineTest, AHookThatFailsEndsTheCallAndLeavesTheLength) {
  const std::vector<uint32_t> tokens = RandomTokens(20);
  Machine machine;
  machine.Run(std::span(tokens).first(8), 8);

  const absl::Status status = machine.engine.Forward(
      std::span(tokens).subspan(8), &machine.sequence,
      [](uint32_t) { return absl::UnavailableError("gone"); });

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(machine.sequence.length, 8u);
  machine.Run(std::span(tokens).subspan(8), 12);
  Machine whole;
  whole.Run(tokens, 20);
  EXPECT_TRUE(SameBits(machine.Logits(), whole.Logits()));
}

// Goal    KV that was copied in serves as well as KV that was computed.
// Method  The first 64 tokens' blocks are copied into another engine's cache,
//         into other blocks; the rest is computed there, then eight tokens are
//         decoded on both sides.
TEST(EngineTest, CopiedKvChangesNoBit) {
  const std::vector<uint32_t> tokens = RandomTokens(100);
  constexpr uint32_t kCopied = 64;
  Machine computed;
  computed.Run(tokens, 100);
  Machine copied;
  Sequence in_the_way;
  ASSERT_TRUE(copied.cache->Reserve(48, &in_the_way).ok());
  ASSERT_TRUE(copied.cache->Reserve(kCopied, &copied.sequence).ok());
  ASSERT_NE(copied.sequence.blocks[0], computed.sequence.blocks[0]);
  const uint32_t kv_dim = SmallModel().kv_dim();
  for (uint32_t layer = 0; layer < SmallModel().layer_count; ++layer) {
    for (uint32_t position = 0; position < kCopied; ++position) {
      std::copy_n(computed.cache->key(layer, computed.sequence, position),
                  kv_dim, copied.cache->key(layer, copied.sequence, position));
      std::copy_n(computed.cache->value(layer, computed.sequence, position),
                  kv_dim,
                  copied.cache->value(layer, copied.sequence, position));
    }
  }
  copied.sequence.length = kCopied;

  copied.Run(std::span(tokens).subspan(kCopied), 9);

  ASSERT_TRUE(SameBits(copied.Logits(), computed.Logits()));
  for (int i = 0; i < 8; ++i) {
    const uint32_t token = computed.engine.GreedyToken();
    ASSERT_EQ(copied.engine.GreedyToken(), token);
    computed.Run(std::span(&token, 1), 1);
    copied.Run(std::span(&token, 1), 1);
    ASSERT_TRUE(SameBits(copied.Logits(), computed.Logits()));
  }
}

// Goal    The comparison above bites.
// Method  One byte of one cached value is inverted before the last token.
TEST(EngineTest, AFlippedByteOfKvChangesTheLogits) {
  const std::vector<uint32_t> tokens = RandomTokens(100);
  Machine intact;
  intact.Run(tokens, 100);
  Machine spoiled;
  spoiled.Run(std::span(tokens).first(99), 99);
  auto* bytes = reinterpret_cast<std::byte*>(
      spoiled.cache->value(0, spoiled.sequence, 40));
  bytes[2] ^= std::byte{0xff};

  spoiled.Run(std::span(tokens).subspan(99), 1);

  EXPECT_FALSE(SameBits(spoiled.Logits(), intact.Logits()));
}

TEST(EngineTest, EveryTokenOfThePromptCounts) {
  const std::vector<uint32_t> tokens = RandomTokens(60);
  Machine whole;
  whole.Run(tokens, 60);
  for (const size_t position : {0u, 1u, 29u, 58u, 59u}) {
    std::vector<uint32_t> changed = tokens;
    changed[position] ^= 1;
    Machine machine;
    machine.Run(changed, 60);

    EXPECT_FALSE(SameBits(machine.Logits(), whole.Logits()))
        << "position " << position;
  }
}

TEST(EngineTest, GreedyTokensAreNotAllTheSame) {
  Machine machine;
  machine.Run(RandomTokens(50), 50);
  std::set<uint32_t> seen;
  for (int i = 0; i < 24; ++i) {
    const uint32_t token = machine.engine.GreedyToken();
    seen.insert(token);
    machine.Run(std::span(&token, 1), 1);
  }

  EXPECT_GT(seen.size(), 2u);
}

TEST(EngineTest, RefusesWhatItCannotCompute) {
  Machine machine;
  machine.Run(RandomTokens(10), 10);
  const std::vector<uint32_t> unknown = {1, 256};
  const std::vector<uint32_t> too_many(247, 1);

  EXPECT_THAT(
      std::string(machine.engine.Forward({}, &machine.sequence).message()),
      HasSubstr("no tokens"));
  EXPECT_THAT(
      std::string(machine.engine.Forward(unknown, &machine.sequence).message()),
      HasSubstr("token 256 is beyond the vocabulary of 256"));
  EXPECT_THAT(
      std::string(
          machine.engine.Forward(too_many, &machine.sequence).message()),
      HasSubstr("10 + 247 tokens are over context_max 256"));
  EXPECT_EQ(machine.sequence.length, 10u);
}

TEST(EngineTest, SaysWhenTheCacheIsFull) {
  const ModelConfig config = SmallModel();
  const Weights weights(config);
  const std::unique_ptr<PagedKvCache> cache =
      *PagedKvCache::Create(config, 16, 2);
  Engine engine(&weights, cache.get());
  Sequence sequence;
  const std::vector<uint32_t> tokens = RandomTokens(33);

  const absl::Status status = engine.Forward(tokens, &sequence);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(sequence.length, 0u);
}

}  // namespace
}  // namespace kvferry::llama
