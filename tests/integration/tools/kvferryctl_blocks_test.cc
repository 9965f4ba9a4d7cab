// The verbs of kvferryctl that look at blocks: blocks, match, evict, clear.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/tools/kvferryctl_fixture.h"

namespace kvferry {
namespace {

using nlohmann::json;
using test::IsOk;
using test::ProgramResult;
using testing::HasSubstr;

TEST_F(KvferryctlTest, FindsBlocksByTheStartOfTheirKey) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  const std::vector<BlockKey> keys = Publish(*client, Tokens(48));
  ASSERT_EQ(keys.size(), 3u);

  EXPECT_EQ(CtlJson({"blocks"}).size(), 3u);
  const std::string hex = ToHex(keys[1]);
  for (const size_t digits : {8, 31, 32}) {
    const json found = CtlJson({"blocks", "--prefix", hex.substr(0, digits)});
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0]["key"], hex);
    EXPECT_EQ(found[0]["parent"], ToHex(keys[0]));
    EXPECT_EQ(found[0]["children"], 1);
    EXPECT_EQ(found[0]["state"], "ready");
    EXPECT_EQ(found[0]["pins"], 0);
    EXPECT_EQ(found[0]["bytes"], kPageBytes);
  }
  EXPECT_TRUE(
      CtlJson({"blocks", "--prefix", ToHex(keys[0])})[0]["parent"].is_null());
  EXPECT_EQ(CtlJson({"blocks", "--prefix", std::string(32, '0')}),
            json::array());

  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_EQ(CtlJson({"blocks", "--prefix", hex})[0]["pins"], 1);
  const std::string text = Ctl({"blocks", "--prefix", hex}).out;
  EXPECT_THAT(text, HasSubstr(hex));
  EXPECT_THAT(text, HasSubstr("4 KiB"));
}

TEST_F(KvferryctlTest, SaysWhenThereAreMoreBlocksThanTheLimit) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  Publish(*client, Tokens(16 * 250));

  const ProgramResult some = Ctl({"blocks", "--limit", "200", "--json"});
  EXPECT_EQ(some.exit_code, 0);
  EXPECT_EQ(json::parse(some.out, nullptr, false).size(), 200u);
  EXPECT_THAT(some.err, HasSubstr("more than these 200"));
}

TEST_F(KvferryctlTest, MatchesAPromptOfNumbersOrBytes) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  const std::vector<BlockKey> keys = Publish(*client, Tokens(48));

  std::vector<uint32_t> prompt = Tokens(32);
  prompt.resize(71, 7);  // 32 known tokens, 39 others: 2 of 4 blocks, a tail
  json match = CtlJson({"match", "--tokens", "-"}, {.input = Text(prompt)});
  EXPECT_EQ(match["namespace"], kName);
  EXPECT_EQ(match["block_tokens"], kBlockTokens);
  EXPECT_EQ(match["prompt_tokens"], 71);
  EXPECT_EQ(match["prompt_blocks"], 4);
  EXPECT_EQ(match["hit_blocks"], 2);
  EXPECT_EQ(match["hit_tokens"], 32);
  EXPECT_FALSE(match.contains("keys"));

  match =
      CtlJson({"match", "--tokens", "-", "--verbose"}, {.input = Text(prompt)});
  ASSERT_EQ(match["keys"].size(), 4u);
  EXPECT_EQ(match["keys"][1]["key"], ToHex(keys[1]));
  EXPECT_EQ(match["keys"][1]["hit"], true);
  EXPECT_EQ(match["keys"][2]["hit"], false);

  const std::string bytes = "sixteen letters!and more";
  Publish(*client, std::vector<uint32_t>(bytes.begin(), bytes.end()));
  match = CtlJson({"match", "--tokens", "-", "--bytes"}, {.input = bytes});
  EXPECT_EQ(match["hit_blocks"], 1);

  const ProgramResult text =
      Ctl({"match", "--tokens", "-", "--verbose"}, {.input = Text(prompt)});
  EXPECT_THAT(text.out, HasSubstr("32 tokens (45.1 %), 2 blocks"));
  EXPECT_THAT(text.out, HasSubstr("a tail of 7 that is not looked up"));
  EXPECT_THAT(text.out, HasSubstr(ToHex(keys[1]) + "  hit"));
}

TEST_F(KvferryctlTest, MatchOfLessThanABlockIsAMiss) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  const json match = CtlJson({"match", "--tokens", "-"}, {.input = "1 2 3"});
  EXPECT_EQ(match["prompt_blocks"], 0);
  EXPECT_EQ(match["hit_tokens"], 0);
}

TEST_F(KvferryctlTest, MatchNamesAGroupThatIsNotThere) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  const ProgramResult result =
      Ctl({"match", "--tokens", "-", "--group", "1"}, {.input = "1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--group 1"));
}

TEST_F(KvferryctlTest, EvictsByKeyButNotWhatIsPinned) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  const std::vector<BlockKey> keys = Publish(*client, Tokens(48));
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(std::span(keys).first(1), &prefix), IsOk());
  ASSERT_EQ(prefix.block_count(), 1u);

  json result = CtlJson({"evict", "--prefix", ToHex(keys[0])});
  EXPECT_EQ(result["evicted"], 0);
  EXPECT_EQ(result["pinned"], 1);
  result = CtlJson({"evict", "--prefix", ToHex(keys[2])});
  EXPECT_EQ(result["evicted"], 1);
  EXPECT_EQ(result["pinned"], 0);
  prefix.Release();

  const ProgramResult text = Ctl({"evict", "--limit", "1"});
  EXPECT_EQ(text.out, "1 blocks evicted, 0 kept because they are pinned\n");
  const json left = CtlJson({"blocks"});
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0]["key"], ToHex(keys[0]));  // tails go first
}

TEST_F(KvferryctlTest, ClearMakesEverythingAMiss) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  Publish(*client, Tokens(48));
  const uint64_t epoch = CtlJson({"namespaces"})[0]["content_epoch"];

  const json cleared = CtlJson({"clear", "--namespace", kName});
  EXPECT_EQ(cleared["namespace"], kName);
  EXPECT_EQ(cleared["blocks"], 3);
  EXPECT_EQ(cleared["content_epoch"], epoch + 1);
  const json match =
      CtlJson({"match", "--tokens", "-"}, {.input = Text(Tokens(48))});
  EXPECT_EQ(match["hit_blocks"], 0);
  EXPECT_EQ(CtlJson({"blocks"}), json::array());
}

TEST_F(KvferryctlTest, MatchNeedsOnlyTheRightToRead) {
  if (::getuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (!OthersReachTheProgram()) GTEST_SKIP() << "the build tree is closed";
  daemon_.reset();
  test::DaemonProcess::Options options;
  options.folder_mode = 0755;
  options.extra_args = {"--allow-read", "*"};
  auto daemon = test::DaemonProcess::Start(options);
  ASSERT_THAT(daemon, IsOk());
  daemon_ = *std::move(daemon);
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  Publish(*client, Tokens(48));
  test::ProgramOptions as_nobody;
  as_nobody.uid = 65534;
  as_nobody.input = Text(Tokens(48));

  const json match =
      CtlJson({"match", "--namespace", kName, "--tokens", "-"}, as_nobody);
  EXPECT_EQ(match["hit_blocks"], 3);
  EXPECT_EQ(Ctl({"match", "--tokens", "-"}, as_nobody).exit_code, 1);
}

}  // namespace
}  // namespace kvferry
