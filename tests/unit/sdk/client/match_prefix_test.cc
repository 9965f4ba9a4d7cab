#include <vector>

#include "sdk/matcher.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/client/allocation_counter.h"

namespace kvferry::sdk {
namespace {

using protocol::ResidenceState;
using test::FakeNamespace;
using test::IsOk;
using test::NumberedKey;
using test::StatusIs;

std::vector<BlockKey> Keys(uint64_t first, uint64_t count) {
  std::vector<BlockKey> keys;
  for (uint64_t n = first; n < first + count; ++n) {
    keys.push_back(NumberedKey(n));
  }
  return keys;
}

class MatchPrefixTest : public testing::Test {
 protected:
  void PutKeys(uint64_t first, uint64_t count) {
    for (uint64_t n = first; n < first + count; ++n) {
      blocks_.push_back(fake_.Put(NumberedKey(n)));
    }
  }
  absl::Status Match(const std::vector<BlockKey>& keys) {
    prefix_.Release();
    return Matcher::MatchPrefix(&fake_.attachment(), 0, keys, &prefix_);
  }

  FakeNamespace fake_{{{.block_count = 256, .blocks_per_segment = 100}}};
  std::vector<uint32_t> blocks_;
  PinnedPrefix prefix_;
};

TEST_F(MatchPrefixTest, PinsTheHitAndGivesItBack) {
  PutKeys(0, 100);

  ASSERT_THAT(Match(Keys(0, 100)), IsOk());
  EXPECT_EQ(prefix_.tokens(), 1600);
  EXPECT_EQ(prefix_.block_count(), 100);
  EXPECT_EQ(prefix_.first_block(), 0);
  for (uint32_t block : blocks_) EXPECT_EQ(fake_.pins(block), 1);
  EXPECT_EQ(prefix_.page(3).data(), fake_.Page(0, blocks_[3]));
  EXPECT_EQ(prefix_.page(3).size(), 64);
  EXPECT_TRUE(prefix_.page(100).empty());
  EXPECT_TRUE(prefix_.page(0, 1).empty());
  EXPECT_TRUE(prefix_.page(0, 0, 1).empty());

  prefix_.Release();
  EXPECT_EQ(prefix_.tokens(), 0);
  EXPECT_EQ(prefix_.block_count(), 0);
  EXPECT_EQ(fake_.pin_sum(), 0);
}

TEST_F(MatchPrefixTest, EndsAtTheFirstMiss) {
  PutKeys(0, 200);
  for (uint64_t gap : {199, 70, 26, 1, 0}) {
    fake_.Erase(NumberedKey(gap));
    ASSERT_THAT(Match(Keys(0, 200)), IsOk());
    EXPECT_EQ(prefix_.block_count(), gap);
    EXPECT_EQ(fake_.pin_sum(), gap);
  }
}

TEST_F(MatchPrefixTest, AMissIsNoErrorAndHoldsNothing) {
  EXPECT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_EQ(prefix_.tokens(), 0);
  EXPECT_THAT(Match(Keys(0, 500)), IsOk());
  EXPECT_EQ(prefix_.tokens(), 0);
  EXPECT_THAT(prefix_.Check(), IsOk());
  EXPECT_EQ(fake_.pin_sum(), 0);
}

TEST_F(MatchPrefixTest, PendingBlocksEndTheHit) {
  PutKeys(0, 10);
  fake_.SetState(NumberedKey(4), ResidenceState::kPending);
  ASSERT_THAT(Match(Keys(0, 10)), IsOk());
  EXPECT_EQ(prefix_.block_count(), 4);
}

TEST_F(MatchPrefixTest, ABlockThatStaysRetiringIsAMiss) {
  PutKeys(0, 10);
  fake_.SetState(NumberedKey(6), ResidenceState::kRetiring);
  ASSERT_THAT(Match(Keys(0, 10)), IsOk());
  EXPECT_EQ(prefix_.block_count(), 6);
  EXPECT_EQ(fake_.pin_sum(), 6);
  EXPECT_EQ(fake_.memory().client->retired_races.load(), 4);
}

TEST_F(MatchPrefixTest, TheLastPinIsRefusedAndNothingStaysPinned) {
  PutKeys(0, 5);
  fake_.memory().pins[blocks_[3]].store(protocol::kPinsPerBlockMax - 1);

  PinnedPrefix last;
  ASSERT_THAT(Matcher::MatchPrefix(&fake_.attachment(), 0, Keys(3, 1), &last),
              IsOk());
  EXPECT_EQ(fake_.pins(blocks_[3]), protocol::kPinsPerBlockMax);

  EXPECT_THAT(Match(Keys(0, 5)), StatusIs(absl::StatusCode::kResourceExhausted,
                                          testing::HasSubstr("61440")));
  EXPECT_EQ(prefix_.tokens(), 0);
  EXPECT_EQ(fake_.pin_sum(), protocol::kPinsPerBlockMax);

  last.Release();
  EXPECT_THAT(Match(Keys(0, 5)), IsOk());
  EXPECT_EQ(prefix_.block_count(), 5);
  fake_.memory().pins[blocks_[3]].store(1);
}

TEST_F(MatchPrefixTest, MovingPinsMovesThemOnce) {
  PutKeys(0, 8);
  ASSERT_THAT(Match(Keys(0, 8)), IsOk());

  PinnedPrefix moved(std::move(prefix_));
  EXPECT_EQ(moved.block_count(), 8);
  EXPECT_EQ(fake_.pin_sum(), 8);

  ASSERT_THAT(Match(Keys(0, 2)), IsOk());  // the moved-from one is usable
  EXPECT_EQ(fake_.pin_sum(), 10);
  moved = std::move(prefix_);  // what it held is released
  EXPECT_EQ(moved.block_count(), 2);
  EXPECT_EQ(fake_.pin_sum(), 2);
  moved.Release();
  moved.Release();
  EXPECT_EQ(fake_.pin_sum(), 0);
}

TEST_F(MatchPrefixTest, CheckTellsOfRevokedPins) {
  PutKeys(0, 1);
  ASSERT_THAT(Match(Keys(0, 1)), IsOk());
  EXPECT_THAT(prefix_.Check(), IsOk());
  fake_.SetRevoked();
  EXPECT_THAT(prefix_.Check(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(MatchPrefixTest, LeavesATouchAndCountsIt) {
  PutKeys(0, 3);
  fake_.SetCoarseNow(1234);
  ASSERT_THAT(Match(Keys(0, 5)), IsOk());
  ASSERT_THAT(Match(Keys(90, 1)), IsOk());

  const protocol::SessionClientHeader& client = *fake_.memory().client;
  EXPECT_EQ(client.touch_tail.load(), 2);
  EXPECT_EQ(client.match_calls.load(), 2);
  EXPECT_EQ(client.matched_blocks.load(), 3);
  EXPECT_EQ(client.missed_calls.load(), 1);
  const protocol::TouchRecord* touches = fake_.memory().touches;
  EXPECT_EQ(touches[0].deepest_hit.load(), fake_.WordOf(NumberedKey(2)));
  EXPECT_EQ(touches[0].hit_blocks.load(), 3);
  EXPECT_EQ(touches[0].missed_key_lo.load(), NumberedKey(3).lo);
  EXPECT_EQ(touches[0].missed_key_hi.load(), NumberedKey(3).hi);
  EXPECT_EQ(touches[0].time_ms.load(), 1234);
  EXPECT_EQ(touches[1].deepest_hit.load(), 0);
  EXPECT_EQ(touches[1].missed_key_lo.load(), NumberedKey(90).lo);
}

TEST_F(MatchPrefixTest, AllocatesNothingOnceItHasSeenTheLength) {
  PutKeys(0, 200);
  const std::vector<BlockKey> keys = Keys(0, 200);
  const std::vector<BlockKey> misses = Keys(1000, 200);
  ASSERT_THAT(Match(keys), IsOk());

  test::AllocationCounter::Start();
  for (size_t count : {200u, 64u, 1u}) {
    for (const auto* prompt : {&keys, &misses}) {
      prefix_.Release();
      (void)Matcher::MatchPrefix(&fake_.attachment(), 0,
                                 std::span(*prompt).first(count), &prefix_);
    }
  }
  EXPECT_EQ(test::AllocationCounter::Stop(), 0);
}

TEST(MatchPrefixSegmentsTest, BlocksWithoutASegmentEndTheHit) {
  FakeNamespace fake({{.block_count = 30, .blocks_per_segment = 10}},
                     /*map_segments=*/false);
  for (uint64_t n = 0; n < 30; ++n) fake.Put(NumberedKey(n));
  PinnedPrefix prefix;
  uint32_t expected = 0;
  for (uint32_t segment = 0; segment < 3; ++segment) {
    prefix.Release();
    ASSERT_THAT(
        Matcher::MatchPrefix(&fake.attachment(), 0, Keys(0, 30), &prefix),
        IsOk());
    EXPECT_EQ(prefix.block_count(), expected);
    EXPECT_EQ(fake.pin_sum(), expected);
    fake.MapSegment(0, segment);
    expected += 10;
  }
  prefix.Release();
  ASSERT_THAT(Matcher::MatchPrefix(&fake.attachment(), 0, Keys(0, 30), &prefix),
              IsOk());
  EXPECT_EQ(prefix.block_count(), 30);
}

TEST(MatchPrefixSegmentsTest, KeysOfAnotherGroupAreNoHits) {
  FakeNamespace fake({{.block_count = 8}, {.block_count = 8}});
  fake.Put(NumberedKey(0), 0);
  fake.Put(NumberedKey(1), 1);
  PinnedPrefix prefix;
  ASSERT_THAT(Matcher::MatchPrefix(&fake.attachment(), 0, Keys(0, 2), &prefix),
              IsOk());
  EXPECT_EQ(prefix.block_count(), 1);
  EXPECT_EQ(fake.pin_sum(), 1);
}

}  // namespace
}  // namespace kvferry::sdk
