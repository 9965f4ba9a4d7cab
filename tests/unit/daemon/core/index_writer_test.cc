#include "daemon/core/index_writer.h"

#include <map>
#include <random>

#include "gmock/gmock.h"
#include "tests/sim/memory.h"

namespace kvferry::core {
namespace {

using protocol::kSlotsPerBucket;
using protocol::Residence;
using protocol::ResidenceState;

class IndexWriterTest : public testing::Test {
 protected:
  explicit IndexWriterTest(uint32_t bucket_count = 64)
      : file_(uint64_t{bucket_count} * sizeof(protocol::Bucket)),
        index_(file_.At<protocol::Bucket>(0), bucket_count) {}

  static uint64_t Word(uint32_t block) {
    return protocol::PackResidence({ResidenceState::kReady, block, 1});
  }

  sim::FakeFile file_;
  IndexWriter index_;
};

TEST_F(IndexWriterTest, FindsWhatWasInsertedUntilItIsErased) {
  const BlockKey key{1, 2};
  EXPECT_EQ(index_.Find(key), kNoSlot);

  const uint32_t slot = index_.Insert(key, Word(7), 0);
  EXPECT_EQ(index_.Find(key), slot);
  EXPECT_EQ(index_.key(slot), key);
  EXPECT_EQ(index_.host(slot), Word(7));
  index_.Erase(slot);

  EXPECT_EQ(index_.Find(key), kNoSlot);
  EXPECT_EQ(index_.used(), 0u);
}

TEST_F(IndexWriterTest, KeysThatShareHalfTheirBitsAreApart) {
  index_.Insert({1, 2}, Word(1), 0);
  index_.Insert({1, 3}, Word(2), 0);

  EXPECT_EQ(index_.host(index_.Find({1, 2})), Word(1));
  EXPECT_EQ(index_.host(index_.Find({1, 3})), Word(2));
  EXPECT_EQ(index_.Find({2, 2}), kNoSlot);
}

TEST_F(IndexWriterTest, RefusesAKeyWhoseTwoBucketsAreFull) {
  // Keys with equal top halves share their bucket pair.
  for (uint32_t i = 0; i < 2 * kSlotsPerBucket; ++i) {
    ASSERT_NE(index_.Insert({i + 1, 5}, Word(i), 0), kNoSlot);
  }
  EXPECT_EQ(index_.Insert({100, 5}, Word(100), 0), kNoSlot);

  index_.Erase(index_.Find({3, 5}));
  EXPECT_NE(index_.Insert({100, 5}, Word(100), 0), kNoSlot);
}

// Goal    The index behaves as a map, and at the layout's load next to never
//         finds both buckets full (the core then evicts one of theirs).
// Method  Random inserts and erases against std::map, compared both ways.
TEST(IndexWriterModelTest, BehavesAsAMapUpToItsLoad) {
  constexpr uint32_t kBlocks = 20000;
  const uint32_t buckets = protocol::BucketCountFor(kBlocks);
  sim::FakeFile file(uint64_t{buckets} * sizeof(protocol::Bucket));
  IndexWriter index(file.At<protocol::Bucket>(0), buckets);
  std::mt19937_64 random(20261124);
  std::map<BlockKey, uint64_t> model;
  std::vector<BlockKey> keys;
  uint32_t overflows = 0;

  for (uint32_t step = 0; step < 100000; ++step) {
    if (model.size() < kBlocks && (keys.empty() || random() % 3 != 0)) {
      const BlockKey key{random(), random()};
      const uint64_t word = protocol::PackResidence(
          {ResidenceState::kReady, static_cast<uint32_t>(step), 1});
      if (index.Insert(key, word, 0) == kNoSlot) {
        ++overflows;
        continue;
      }
      model[key] = word;
      keys.push_back(key);
    } else {
      const size_t i = random() % keys.size();
      const uint32_t slot = index.Find(keys[i]);
      ASSERT_NE(slot, kNoSlot);
      index.Erase(slot);
      model.erase(keys[i]);
      keys[i] = keys.back();
      keys.pop_back();
    }
  }

  // Under churn some 6 inserts in a million do; this makes 66,000.
  EXPECT_LE(overflows, 3u);
  EXPECT_EQ(index.used(), model.size());
  for (const auto& [key, word] : model) {
    const uint32_t slot = index.Find(key);
    ASSERT_NE(slot, kNoSlot);
    EXPECT_EQ(index.host(slot), word);
  }
  uint32_t found = 0;
  for (uint32_t slot = 0; slot < index.slot_count(); ++slot) {
    if (index.host(slot) == 0) continue;
    ++found;
    EXPECT_TRUE(model.contains(index.key(slot)));
  }
  EXPECT_EQ(found, model.size());
}

}  // namespace
}  // namespace kvferry::core
