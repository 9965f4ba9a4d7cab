#include "sdk/index_view.h"

#include <gtest/gtest.h>

#include "tests/support/fake_namespace.h"

namespace kvferry::sdk {
namespace {

using protocol::ResidenceState;
using test::FakeNamespace;
using test::NumberedKey;
using Verdict = IndexView::Verdict;

class IndexViewTest : public testing::Test {
 protected:
  FakeNamespace fake_{{{.block_count = 256, .blocks_per_segment = 256}}};
  const IndexView& view_ = fake_.attachment().index();
};

TEST_F(IndexViewTest, FindsEveryKeyInWhicheverBucketItStands) {
  for (uint64_t n = 0; n < 150; ++n) fake_.Put(NumberedKey(n));

  for (uint64_t n = 0; n < 150; ++n) {
    const BlockKey key = NumberedKey(n);
    const IndexHit hit = view_.Find(key);
    ASSERT_TRUE(hit.found()) << n;
    EXPECT_EQ(hit.word, fake_.WordOf(key)) << n;
    EXPECT_EQ(view_.FindAt(key, view_.ScanTags(key)).word, hit.word) << n;
    EXPECT_EQ(view_.Recheck(key, hit), Verdict::kValid) << n;
  }
  for (uint64_t n = 150; n < 400; ++n) {
    EXPECT_FALSE(view_.Find(NumberedKey(n)).found()) << n;
  }
}

TEST_F(IndexViewTest, PendingIsNoHitRetiringIsWorthAPin) {
  const BlockKey key = NumberedKey(1);
  fake_.Put(key, 0, ResidenceState::kPending);
  EXPECT_FALSE(view_.Find(key).found());
  EXPECT_FALSE(view_.IsReady(key));

  fake_.SetState(key, ResidenceState::kReady);
  EXPECT_TRUE(view_.IsReady(key));
  const uint64_t ready_word = fake_.WordOf(key);

  fake_.SetState(key, ResidenceState::kRetiring);
  const IndexHit hit = view_.Find(key);
  EXPECT_EQ(hit.word, ready_word);
  EXPECT_EQ(view_.Recheck(key, hit), Verdict::kRetiring);
  EXPECT_FALSE(view_.IsReady(key));

  fake_.SetState(key, ResidenceState::kReady);
  EXPECT_EQ(view_.Recheck(key, hit), Verdict::kValid);
}

// Goal    A hit is told from a slot that changed in any one respect.
TEST_F(IndexViewTest, RecheckSeesANewGenerationAndAnotherKey) {
  const BlockKey key = NumberedKey(7);
  const uint32_t block = fake_.Put(key);
  const IndexHit hit = view_.Find(key);

  fake_.Erase(key);
  EXPECT_EQ(view_.Recheck(key, hit), Verdict::kGone);

  fake_.PutBlock(key, block);  // same slot, same block, next generation
  EXPECT_EQ(view_.Recheck(key, hit), Verdict::kGone);

  const IndexHit again = view_.Find(key);
  ASSERT_TRUE(again.found());
  BlockKey other = key;
  other.hi ^= 1;
  EXPECT_EQ(view_.Recheck(other, again), Verdict::kGone);
  other = key;
  other.lo ^= 1;
  EXPECT_EQ(view_.Recheck(other, again), Verdict::kGone);
}

// Goal    Keys that share their lower word (and so a bucket) do not hide each
//         other, nor does a lower word of zero find free slots.
TEST_F(IndexViewTest, ComparesTheWholeKey) {
  BlockKey keys[4];
  for (uint64_t n = 0; n < 4; ++n) {
    keys[n] = {NumberedKey(3).lo, NumberedKey(n).hi};
    fake_.Put(keys[n]);
  }
  for (const BlockKey& key : keys) {
    EXPECT_EQ(view_.FindAt(key, view_.ScanTags(key)).word, fake_.WordOf(key));
  }
  EXPECT_FALSE(view_.Find({keys[0].lo, NumberedKey(99).hi}).found());

  const BlockKey zero_lo{0, 42};
  EXPECT_FALSE(view_.Find(zero_lo).found());
  fake_.Put(zero_lo);
  EXPECT_TRUE(view_.Find(zero_lo).found());
}

}  // namespace
}  // namespace kvferry::sdk
