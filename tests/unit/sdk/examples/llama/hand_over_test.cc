#include "sdk/examples/llama/hand_over.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace kvferry::llama {
namespace {

using ::testing::HasSubstr;

HandOver Sample() {
  HandOver hand_over;
  hand_over.first_token = 0x41;
  hand_over.logits_digest = 0x0123456789abcdef;
  hand_over.last_layer_ns = 0xfedcba9876543210;
  return hand_over;
}

TEST(HandOverTest, BytesAreLittleEndianInTheOrderOfTheDrawing) {
  const std::string expected =
      std::string("\x01\0\0\0", 4) + std::string("\x41\0\0\0", 4) +
      "\xef\xcd\xab\x89\x67\x45\x23\x01" + "\x10\x32\x54\x76\x98\xba\xdc\xfe";

  EXPECT_EQ(Sample().Encode(), expected);
  EXPECT_EQ(Sample().Encode().size(), HandOver::kBytes);
}

TEST(HandOverTest, ComesBackAsItWas) {
  const auto decoded = HandOver::Decode(Sample().Encode());

  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->first_token, Sample().first_token);
  EXPECT_EQ(decoded->logits_digest, Sample().logits_digest);
  EXPECT_EQ(decoded->last_layer_ns, Sample().last_layer_ns);
}

TEST(HandOverTest, RefusesAnotherSizeAndAnotherVersion) {
  std::string bytes = Sample().Encode();

  EXPECT_THAT(std::string(HandOver::Decode(bytes + "x").status().message()),
              HasSubstr("of 25 bytes, must be 24"));
  EXPECT_THAT(std::string(HandOver::Decode("").status().message()),
              HasSubstr("of 0 bytes"));
  bytes[0] = 2;
  EXPECT_THAT(std::string(HandOver::Decode(bytes).status().message()),
              HasSubstr("version 2, this one reads 1"));
}

}  // namespace
}  // namespace kvferry::llama
