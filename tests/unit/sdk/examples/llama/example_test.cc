// What the two example programs share: files, JSON, and the model's geometry in
// KVFerry's terms.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kvferry/copy.h"
#include "sdk/examples/llama/example_flags.h"
#include "sdk/examples/llama/example_io.h"
#include "sdk/examples/llama/model_namespace.h"
#include "sdk/examples/llama/prompt_intake.h"

namespace kvferry::llama {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ReadPromptTest : public ::testing::Test {
 protected:
  // Cases are processes of their own and run beside each other.
  ReadPromptTest()
      : path_(absl::StrCat(::testing::TempDir(), "llama_prompt.", ::getpid(),
                           ".txt")) {}
  ~ReadPromptTest() override { std::remove(path_.c_str()); }

  void Write(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
  }

  const std::string path_;
};

TEST_F(ReadPromptTest, TokensAreBytes) {
  Write("a\xff\n");

  const auto tokens = ReadPrompt(path_, 3);

  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_THAT(*tokens, ElementsAre(97, 255, 10));
}

TEST_F(ReadPromptTest, RefusesWhatDoesNotFitAndNamesTheLimit) {
  Write("abcd");
  EXPECT_THAT(std::string(ReadPrompt(path_, 3).status().message()),
              HasSubstr("over the 3 tokens"));
  Write("");
  EXPECT_THAT(std::string(ReadPrompt(path_, 3).status().message()),
              HasSubstr("is empty"));
  EXPECT_EQ(ReadPrompt(path_ + ".none", 3).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ReadPromptTest, WhatIsWrittenIsReadBack) {
  const std::vector<uint32_t> tokens = {0, 10, 34, 255};

  ASSERT_TRUE(WriteText(path_, tokens).ok());

  const auto read = ReadPrompt(path_, 4);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, tokens);
  EXPECT_EQ(WriteText(path_ + ".none/file", tokens).code(),
            absl::StatusCode::kNotFound);
}

TEST(TextFieldOfTest, FindsAFieldOfALineThatJsonLineWrote) {
  JsonLine line;
  line.Count("ticket_count", 1).Text("ticket", "abc-_9").Text("event", "done");

  EXPECT_EQ(TextFieldOf(line.ToString(), "ticket"), "abc-_9");
  EXPECT_EQ(TextFieldOf(line.ToString(), "event"), "done");
  EXPECT_EQ(TextFieldOf(line.ToString(), "ticket_count"), "");
  EXPECT_EQ(TextFieldOf(line.ToString(), "none"), "");
}

TEST(LookupAnswerNameTest, EachAnswerHasItsOwn) {
  EXPECT_STREQ(LookupAnswerName(LookupAnswer::kNothing), "nothing");
  EXPECT_STREQ(LookupAnswerName(LookupAnswer::kHit), "hit");
  EXPECT_STREQ(LookupAnswerName(LookupAnswer::kAskAgain), "ask again");
}

TEST(JsonLineTest, WritesFieldsInOrderAndEscapes) {
  const std::vector<uint32_t> numbers = {1, 2};
  const std::vector<std::string> texts = {"a", "b"};
  JsonLine line;

  line.Text("name", "a\"b\\c\n").Count("count", 7).Milliseconds("ms", 1.5);
  line.Numbers("numbers", numbers).Texts("texts", texts);

  EXPECT_EQ(line.ToString(),
            "{\"name\":\"a\\\"b\\\\c\\u000a\",\"count\":7,\"ms\":1.500,"
            "\"numbers\":[1,2],\"texts\":[\"a\",\"b\"]}");
}

TEST(LogitsDigestTest, DependsOnEveryBitAndOnTheOrder) {
  const auto digest = [](std::vector<float> logits) {
    LogitsDigest result;
    result.Add(logits);
    return result.ToHex();
  };

  EXPECT_EQ(digest({1.0f, 2.0f}), digest({1.0f, 2.0f}));
  EXPECT_NE(digest({1.0f, 2.0f}), digest({2.0f, 1.0f}));
  EXPECT_NE(digest({0.0f}), digest({-0.0f}));
}

TEST(LogitsDigestTest, GoesOnWhereAnotherOneWas) {
  const std::vector<float> first = {1.0f};
  const std::vector<float> second = {2.0f};
  LogitsDigest whole;
  whole.Add(first);
  LogitsDigest rest(whole.state());
  whole.Add(second);

  rest.Add(second);

  EXPECT_EQ(rest.ToHex(), whole.ToHex());
}

TEST(ExampleFlagsTest, SlicesMustDivideTheHeads) {
  ExampleFlags flags;
  EXPECT_TRUE(flags.Validate().ok());
  flags.slice_count = 2;
  EXPECT_TRUE(flags.Validate().ok());
  flags.slice_count = 3;
  EXPECT_THAT(std::string(flags.Validate().message()),
              HasSubstr("--slices is 3, must divide the 2 KV heads"));
}

// Goal    A block that leaves one cache through pages and enters another, into
//         another block, arrives whole, whatever the number of slices.
// Method  Random KV; gather all slices, scatter them, compare every number.
TEST(ModelNamespaceTest, PagesCarryABlockWithAllItsSlices) {
  ModelConfig config;
  config.layer_count = 3;
  config.kv_head_count = 4;
  constexpr uint32_t kBlockTokens = 8;
  for (const uint32_t slice_count : {1u, 2u, 4u}) {
    const NamespaceSpec spec =
        NamespaceFor(config, "test", kBlockTokens, slice_count);
    const GroupSpec& group = spec.groups.at(0);
    ASSERT_EQ(group.block_bytes(),
              uint64_t{3} * 2 * kBlockTokens * config.kv_dim() * 4);
    const auto source = *PagedKvCache::Create(config, kBlockTokens, 3);
    const auto target = *PagedKvCache::Create(config, kBlockTokens, 5);
    Sequence from;
    Sequence to;
    ASSERT_TRUE(source->Reserve(kBlockTokens, &from).ok());
    ASSERT_TRUE(target->Reserve(kBlockTokens, &to).ok());
    float number = 0;
    for (uint32_t layer = 0; layer < config.layer_count; ++layer) {
      for (uint32_t token = 0; token < kBlockTokens; ++token) {
        for (uint32_t i = 0; i < config.kv_dim(); ++i) {
          source->key(layer, from, token)[i] = ++number;
          source->value(layer, from, token)[i] = ++number;
        }
      }
    }

    for (uint32_t slice = 0; slice < slice_count; ++slice) {
      std::vector<std::byte> page(group.page_bytes());
      ASSERT_TRUE(GatherPage(group, TensorFor(group, slice, source.get()),
                             from.blocks[0], page)
                      .ok());
      ASSERT_TRUE(ScatterPage(group, page,
                              TensorFor(group, slice, target.get()),
                              to.blocks[0])
                      .ok());
    }

    for (uint32_t layer = 0; layer < config.layer_count; ++layer) {
      for (uint32_t token = 0; token < kBlockTokens; ++token) {
        ASSERT_EQ(std::memcmp(source->key(layer, from, token),
                              target->key(layer, to, token),
                              config.kv_dim() * sizeof(float)),
                  0);
        ASSERT_EQ(std::memcmp(source->value(layer, from, token),
                              target->value(layer, to, token),
                              config.kv_dim() * sizeof(float)),
                  0);
      }
    }
  }
}

TEST(ModelNamespaceTest, AnotherSeedIsAnotherModel) {
  ModelConfig config;
  const NamespaceSpec spec = NamespaceFor(config, "test", 16, 1);
  config.seed = 2;

  EXPECT_NE(NamespaceFor(config, "test", 16, 1).revision, spec.revision);
}

}  // namespace
}  // namespace kvferry::llama
