#include "sdk/lookup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/client/stream_fixture.h"

namespace kvferry::sdk {
namespace {

using test::StatusIs;
using testing::HasSubstr;

class LookupTest : public StreamFixture {
 protected:
  // Looks up twice: the answers are the same, and nothing was left behind.
  LookupResult Lookup(const std::vector<GroupKeys>& groups) {
    const protocol::SessionClientHeader& client = *fake_.memory().client;
    const uint64_t touches = client.touch_tail.load();
    const uint64_t calls = client.match_calls.load();
    const uint64_t misses = client.missed_calls.load();

    const absl::StatusOr<LookupResult> first =
        LookupGroups(attachment_.get(), groups);
    const absl::StatusOr<LookupResult> again =
        LookupGroups(attachment_.get(), groups);

    EXPECT_TRUE(first.ok() && again.ok()) << first.status();
    if (!first.ok() || !again.ok()) return {};
    EXPECT_EQ(first->answer, again->answer);
    EXPECT_EQ(first->tokens, again->tokens);
    EXPECT_EQ(first->coming_tokens, again->coming_tokens);
    EXPECT_EQ(first->estimate, again->estimate);
    EXPECT_EQ(fake_.pin_sum(), 0);
    EXPECT_EQ(client.touch_tail.load(), touches);
    EXPECT_EQ(client.match_calls.load(), calls);
    EXPECT_EQ(client.missed_calls.load(), misses);
    return *first;
  }
  LookupResult Lookup(const std::vector<BlockKey>& keys, uint32_t tail = 0) {
    return Lookup(std::vector<GroupKeys>{
        {.group = 0, .keys = keys, .tail_tokens = tail}});
  }
};

TEST_F(LookupTest, NothingIsThereOrComing) {
  const LookupResult result = Lookup(Keys(0, 5));
  EXPECT_EQ(result.answer, LookupAnswer::kNothing);
  EXPECT_EQ(result.tokens, 0);
  EXPECT_EQ(result.coming_tokens, 0);
  EXPECT_EQ(result.estimate, absl::ZeroDuration());
}

TEST_F(LookupTest, WhatIsReadyIsAHit) {
  for (uint64_t n = 0; n < 3; ++n) PutReady(n);
  const LookupResult result = Lookup(Keys(0, 5));
  EXPECT_EQ(result.answer, LookupAnswer::kHit);
  EXPECT_EQ(result.tokens, 48);
  EXPECT_EQ(result.coming_tokens, 48);
  EXPECT_EQ(result.estimate, absl::ZeroDuration());
}

TEST_F(LookupTest, WhatIsBeingWrittenIsToBeAskedForAgain) {
  OpenOne(0);
  PutReady(0);
  for (uint32_t p = 0; p < 8; ++p) PutPending(1 + p, At(p));
  PutReady(9);
  record(kSlot).started_ms.store(1000);
  fake_.SetCoarseNow(1300);

  LookupResult result = Lookup(Keys(0, 12));
  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(result.tokens, 16);
  EXPECT_EQ(result.coming_tokens, 160);
  EXPECT_EQ(result.estimate, absl::InfiniteDuration()) << "no pace yet";

  // A quarter in 300 ms: three times as long for the rest.
  Pass(writer(), kGeneration, 2);
  result = Lookup(Keys(0, 12));
  EXPECT_EQ(result.estimate, absl::Milliseconds(900));

  // All is written and not committed yet.
  Pass(writer(), kGeneration, 8);
  result = Lookup(Keys(0, 12));
  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(result.estimate, absl::ZeroDuration());
}

TEST_F(LookupTest, ThePaceIsTheSlowestWriters) {
  Open(kSlot, kGeneration);
  SetWriter(kSlot, 0, 7, 3);
  SetWriter(kSlot, 1, 8, 0);
  for (uint32_t p = 0; p < 8; ++p) PutPending(p, At(p), /*group=*/1);
  fake_.SetCoarseNow(100);
  Pass(writer(), kGeneration, 8);
  Pass(progress(8, 0), kGeneration, 1);
  const std::vector<BlockKey> keys = Keys(0, 8);

  const LookupResult result =
      Lookup(std::vector<GroupKeys>{{.group = 1, .keys = keys}});

  EXPECT_EQ(result.estimate, absl::Milliseconds(700));
}

TEST_F(LookupTest, NobodyKnowsWithoutAProgressFileOrAPublication) {
  Open(kSlot, kGeneration);
  SetWriter(kSlot, 0, /*file=*/42, 3);
  PutPending(0, At(0));
  LookupResult result = Lookup(Keys(0, 1));
  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(result.estimate, absl::InfiniteDuration());

  PutPending(100, {});
  result = Lookup(Keys(100, 1));
  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(result.coming_tokens, 16);
  EXPECT_EQ(result.estimate, absl::InfiniteDuration());
}

TEST_F(LookupTest, ATailCountsWithItsTokens) {
  PutReady(0);
  OpenOne(0);
  PutPending(1, At(0));
  LookupResult result = Lookup(Keys(0, 2), /*tail=*/3);
  EXPECT_EQ(result.tokens, 16);
  EXPECT_EQ(result.coming_tokens, 19);

  MakeReady(1);
  result = Lookup(Keys(0, 2), /*tail=*/3);
  EXPECT_EQ(result.answer, LookupAnswer::kHit);
  EXPECT_EQ(result.tokens, 19);
}

TEST_F(LookupTest, SeveralGroupsHaveOneBoundary) {
  OpenOne(0);
  for (uint32_t p = 0; p < 4; ++p) PutReady(p);
  for (uint32_t p = 0; p < 3; ++p) PutPending(100 + p, At(p), /*group=*/1);
  MakeReady(100);
  const std::vector<BlockKey> first = Keys(0, 4);
  const std::vector<BlockKey> second = Keys(100, 4);

  const LookupResult result = Lookup(std::vector<GroupKeys>{
      {.group = 0, .keys = first}, {.group = 1, .keys = second}});

  EXPECT_EQ(result.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(result.tokens, 16);
  EXPECT_EQ(result.coming_tokens, 48);
}

TEST_F(LookupTest, ArgumentsAreCheckedAsThoseOfAMatch) {
  const std::vector<BlockKey> keys = Keys(0, 1);
  const auto lookup = [&](std::vector<GroupKeys> groups) {
    return LookupGroups(attachment_.get(), groups).status();
  };
  EXPECT_THAT(lookup({}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      lookup({{.group = 2, .keys = keys}}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("group 2")));
  EXPECT_THAT(lookup({{.group = 0, .keys = keys, .tail_tokens = 16}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a tail of 16 tokens")));
  EXPECT_THAT(lookup({{.group = 0, .keys = keys, .tail_tokens = 1},
                      {.group = 1, .keys = keys}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not the only one")));
}

}  // namespace
}  // namespace kvferry::sdk
