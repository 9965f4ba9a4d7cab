#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "sdk/matcher.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using test::FakeNamespace;
using test::IsOk;
using test::NumberedKey;
using test::StatusIs;

BlockKey GroupKey(uint32_t group, uint64_t position) {
  return NumberedKey(1000 * (group + 1) + position);
}

// The prompt's keys of some groups, and which of them are present.
struct Prompt {
  std::vector<uint32_t> groups;
  std::vector<std::vector<BlockKey>> keys;  // by place in `groups`
  std::vector<std::vector<bool>> present;   // likewise
  std::vector<GroupKeys> Spans() const {
    std::vector<GroupKeys> spans;
    for (size_t i = 0; i < groups.size(); ++i) {
      spans.push_back({groups[i], keys[i]});
    }
    return spans;
  }
};

// By trying every boundary in turn, from the definition.
uint64_t ExpectedTokens(const std::vector<FakeNamespace::GroupOptions>& options,
                        const Prompt& prompt) {
  uint64_t limit = ~uint64_t{0};
  for (size_t i = 0; i < prompt.groups.size(); ++i) {
    limit = std::min<uint64_t>(
        limit, prompt.keys[i].size() * options[prompt.groups[i]].block_tokens);
  }
  for (uint64_t tokens = limit; tokens > 0; --tokens) {
    bool holds = true;
    for (size_t i = 0; i < prompt.groups.size() && holds; ++i) {
      const auto& group = options[prompt.groups[i]];
      if (tokens % group.block_tokens != 0) {
        holds = false;
        break;
      }
      const uint64_t end = tokens / group.block_tokens;
      uint64_t first = 0;
      if (group.rule == HitRule::kCheckpoint) first = end - 1;
      if (group.rule == HitRule::kTrailing && end > group.trailing_blocks) {
        first = end - group.trailing_blocks;
      }
      for (uint64_t p = first; p < end; ++p) {
        if (!prompt.present[i][p]) holds = false;
      }
    }
    if (holds) return tokens;
  }
  return 0;
}

class MatchGroupsTest : public testing::TestWithParam<uint32_t> {};

// Goal    The boundary and the pinned blocks are those of the definition.
// Method  Random groups, rules, prompts and presence, against a model that
//         tries every boundary.
TEST_P(MatchGroupsTest, AgreesWithTheDefinition) {
  std::mt19937_64 random(GetParam());
  const auto pick = [&random](uint32_t below) {
    return static_cast<uint32_t>(random() % below);
  };
  for (int round = 0; round < 40; ++round) {
    std::vector<FakeNamespace::GroupOptions> options;
    const uint32_t group_count = 1 + pick(4);
    for (uint32_t g = 0; g < group_count; ++g) {
      constexpr uint32_t kTokens[] = {4, 6, 8, 16, 3};
      options.push_back({.block_tokens = kTokens[pick(5)],
                         .block_count = 64,
                         .blocks_per_segment = 64,
                         .rule = static_cast<HitRule>(pick(3)),
                         .trailing_blocks = 1 + pick(5)});
    }
    FakeNamespace fake(options);
    Prompt prompt;
    for (uint32_t g = 0; g < group_count; ++g) {
      if (group_count > 1 && pick(4) == 0) continue;
      prompt.groups.push_back(g);
    }
    if (prompt.groups.empty()) prompt.groups.push_back(0);
    std::shuffle(prompt.groups.begin(), prompt.groups.end(), random);
    const uint32_t percent_absent = pick(3) * 10;
    std::vector<std::vector<uint32_t>> blocks;
    for (uint32_t g : prompt.groups) {
      const uint32_t count = 1 + pick(40);
      auto& keys = prompt.keys.emplace_back();
      auto& present = prompt.present.emplace_back();
      auto& where = blocks.emplace_back();
      for (uint32_t p = 0; p < count; ++p) {
        keys.push_back(GroupKey(g, p));
        present.push_back(pick(100) >= percent_absent);
        where.push_back(present.back() ? fake.Put(keys.back(), g)
                                       : protocol::kNoBlock);
      }
    }
    const uint64_t expected = ExpectedTokens(options, prompt);

    PinnedPrefix prefix;
    ASSERT_THAT(
        Matcher::MatchGroups(&fake.attachment(), prompt.Spans(), &prefix),
        IsOk());

    ASSERT_EQ(prefix.tokens(), expected) << "round " << round;
    uint64_t pinned = 0;
    for (size_t i = 0; i < prompt.groups.size(); ++i) {
      const uint32_t g = prompt.groups[i];
      const uint64_t end = expected / options[g].block_tokens;
      uint64_t first = 0;
      if (options[g].rule == HitRule::kCheckpoint && end > 0) first = end - 1;
      if (options[g].rule == HitRule::kTrailing &&
          end > options[g].trailing_blocks) {
        first = end - options[g].trailing_blocks;
      }
      ASSERT_EQ(prefix.first_block(g), expected == 0 ? 0 : first);
      ASSERT_EQ(prefix.block_count(g), end - first);
      for (uint64_t p = first; p < end; ++p) {
        const auto position = static_cast<uint32_t>(p);
        EXPECT_EQ(fake.pins(blocks[i][p]), 1);
        EXPECT_EQ(prefix.page(position, 0, g).data(),
                  fake.Page(g, blocks[i][p]));
      }
      pinned += end - first;
    }
    EXPECT_EQ(fake.pin_sum(), pinned);
    prefix.Release();
    EXPECT_EQ(fake.pin_sum(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MatchGroupsTest, testing::Range(1u, 9u));

// Goal    A block that leaves between its lookup and its check moves the
//         boundary down, and nothing above it stays pinned.
// Method  A slot that stays retiring passes the lookup and fails the check.
TEST(MatchGroupsRaceTest, ALostBlockMovesTheBoundaryDown) {
  FakeNamespace fake({{.block_tokens = 4, .block_count = 32},
                      {.block_tokens = 8,
                       .block_count = 32,
                       .rule = HitRule::kTrailing,
                       .trailing_blocks = 2}});
  std::vector<BlockKey> full;
  std::vector<BlockKey> window;
  for (uint64_t p = 0; p < 16; ++p) {
    full.push_back(GroupKey(0, p));
    fake.Put(full.back(), 0);
  }
  for (uint64_t p = 0; p < 8; ++p) {
    window.push_back(GroupKey(1, p));
    fake.Put(window.back(), 1);
  }
  fake.SetState(window[5], protocol::ResidenceState::kRetiring);
  const std::vector<GroupKeys> spans = {{0, full}, {1, window}};

  PinnedPrefix prefix;
  ASSERT_THAT(Matcher::MatchGroups(&fake.attachment(), spans, &prefix), IsOk());
  // 64 tokens use window blocks 6 and 7: block 5 does not matter.
  EXPECT_EQ(prefix.tokens(), 64);

  prefix.Release();
  fake.Erase(full[14]);  // at most 56 tokens, of which the window has 5 and 6
  ASSERT_THAT(Matcher::MatchGroups(&fake.attachment(), spans, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 40);
  EXPECT_EQ(prefix.first_block(1), 3);
  EXPECT_EQ(prefix.block_count(1), 2);
  EXPECT_EQ(fake.pin_sum(), 10 + 2);
  EXPECT_GE(fake.memory().client->retired_races.load(), 1);
}

TEST(MatchGroupsRaceTest, ARefusedPinUndoesThoseOfEveryGroup) {
  FakeNamespace fake(
      {{.block_count = 8}, {.block_count = 8, .rule = HitRule::kCheckpoint}});
  const std::vector<BlockKey> full = {GroupKey(0, 0), GroupKey(0, 1)};
  const std::vector<BlockKey> state = {GroupKey(1, 0), GroupKey(1, 1)};
  for (const BlockKey& key : full) fake.Put(key, 0);
  fake.Put(state[0], 1);
  const uint32_t last = fake.Put(state[1], 1);
  fake.memory().pins[last].store(protocol::kPinsPerBlockMax);
  const std::vector<GroupKeys> spans = {{0, full}, {1, state}};

  PinnedPrefix prefix;
  EXPECT_THAT(Matcher::MatchGroups(&fake.attachment(), spans, &prefix),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(prefix.tokens(), 0);
  EXPECT_EQ(fake.pin_sum(), protocol::kPinsPerBlockMax);
}

}  // namespace
}  // namespace kvferry::sdk
