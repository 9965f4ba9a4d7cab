// What is there, and what is coming: Client::Lookup.

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

class StreamLookupTest : public StreamFixture {
 protected:
  void SetUp() override {
    StreamFixture::SetUp();
    reader_ = Join();
    writer_ = Peer();
    ASSERT_THAT(writer_->Open(), IsOk());
  }
  // Asked several times, it answers the same.
  LookupResult Lookup(const std::vector<BlockKey>& keys) const {
    LookupResult result;
    for (int again = 0; again < 3; ++again) {
      const auto found = reader_->Lookup(keys);
      EXPECT_THAT(found, IsOk());
      if (!found.ok()) return {};
      if (again > 0) {
        EXPECT_EQ(found->answer, result.answer);
        EXPECT_EQ(found->tokens, result.tokens);
        EXPECT_EQ(found->coming_tokens, result.coming_tokens);
      }
      result = *found;
    }
    return result;
  }

  std::unique_ptr<Client> reader_;
  std::unique_ptr<StreamPeer> writer_;
};

TEST_F(StreamLookupTest, HasThreeAnswers) {
  const std::vector<BlockKey> keys = Keys(0, 20);
  LookupResult found = Lookup(keys);
  EXPECT_EQ(found.answer, LookupAnswer::kNothing);
  EXPECT_EQ(found.tokens, 0);
  EXPECT_EQ(found.coming_tokens, 0);
  EXPECT_EQ(found.estimate, absl::ZeroDuration());

  ASSERT_THAT(writer_->Begin(0, 12), IsOk());
  ASSERT_TRUE(AreComing(reader_.get(), Keys(0, 12)));
  found = Lookup(keys);
  EXPECT_EQ(found.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(found.tokens, 0);
  EXPECT_EQ(found.coming_tokens, 12 * kTokens);
  // No pace has been seen yet.
  EXPECT_EQ(found.estimate, absl::InfiniteDuration());

  ASSERT_THAT(writer_->Write(0, 5), IsOk());
  ASSERT_THAT(writer_->CommitAndWait(0, 5), IsOk());
  found = Lookup(keys);
  EXPECT_EQ(found.answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(found.tokens, 5 * kTokens);
  EXPECT_EQ(found.coming_tokens, 12 * kTokens);
  EXPECT_GE(found.estimate, absl::ZeroDuration());
  // Within what is there already nothing is awaited.
  found = Lookup(Keys(0, 5));
  EXPECT_EQ(found.answer, LookupAnswer::kHit);

  ASSERT_THAT(writer_->Write(5, 7), IsOk());
  ASSERT_THAT(writer_->CommitAndWait(5, 7), IsOk());
  found = Lookup(keys);
  EXPECT_EQ(found.answer, LookupAnswer::kHit);
  EXPECT_EQ(found.tokens, 12 * kTokens);
  EXPECT_EQ(found.coming_tokens, 12 * kTokens);
  EXPECT_EQ(found.estimate, absl::ZeroDuration());
}

TEST_F(StreamLookupTest, WhatFailedIsNoLongerComing) {
  const std::vector<BlockKey> keys = Keys(0, 10);
  ASSERT_THAT(writer_->Begin(0, 10), IsOk());
  ASSERT_TRUE(AreComing(reader_.get(), keys));
  ASSERT_THAT(writer_->Produce(0, 4), IsOk());
  writer_->Kill();
  EXPECT_TRUE(Eventually([&] {
    const auto found = reader_->Lookup(keys);
    return found.ok() && found->answer == LookupAnswer::kHit &&
           found->tokens == 4 * kTokens && found->coming_tokens == 4 * kTokens;
  }));
}

// Goal    Asking takes nothing and leaves nothing: no pin, no touch, no count,
//         no message.
TEST_F(StreamLookupTest, LeavesNoTrace) {
  const std::vector<BlockKey> keys = Keys(0, 20);
  ASSERT_THAT(writer_->Begin(0, 20), IsOk());
  ASSERT_THAT(writer_->Write(0, 8), IsOk());
  ASSERT_THAT(writer_->CommitAndWait(0, 8), IsOk());
  ASSERT_TRUE(AreComing(reader_.get(), keys));
  auto admin = Admin();
  const uint32_t session = reader_->info().session;
  struct Traces {
    uint64_t lookups = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t matches = 0;
    uint32_t pins = 0;
    uint64_t doorbells = 0;
    bool operator==(const Traces&) const = default;
  };
  const auto traces = [&] {
    Traces seen;
    const auto namespaces = admin->Namespaces();
    const auto sessions = admin->Sessions();
    const auto status = admin->Status();
    EXPECT_THAT(namespaces, IsOk());
    EXPECT_THAT(sessions, IsOk());
    EXPECT_THAT(status, IsOk());
    seen.lookups = (*namespaces)[0].lookups;
    seen.hits = (*namespaces)[0].hit_blocks;
    seen.misses = (*namespaces)[0].missed_lookups;
    seen.doorbells = status->doorbells;
    for (const SessionInfo& info : *sessions) {
      if (info.session != session) continue;
      seen.matches = info.matches;
      seen.pins = info.pinned_blocks;
    }
    return seen;
  };

  const Traces before = traces();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_THAT(reader_->Lookup(keys), IsOk());
    ASSERT_THAT(reader_->Lookup(Keys(500, 3)), IsOk());
  }
  EXPECT_EQ(traces(), before);
  EXPECT_EQ(before.pins, 0);
  // What was only looked up is evicted as if it had not been, once nothing that
  // is being written continues it.
  ASSERT_THAT(writer_->Abort(), IsOk());
  ASSERT_THAT(writer_->Close(), IsOk());
  const auto evicted = admin->Evict("model", "", 100);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 8);
}

TEST_F(StreamLookupTest, RefusesMalformedCalls) {
  EXPECT_THAT(reader_->Lookup(std::span<const BlockKey>()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(reader_->Lookup(Keys(0, 16385)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const std::vector<BlockKey> keys = Keys(0, 2);
  const std::vector<GroupKeys> unknown = {{1, keys}};
  EXPECT_THAT(reader_->Lookup(unknown),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry::test
