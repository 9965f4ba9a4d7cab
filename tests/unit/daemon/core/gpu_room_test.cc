// Who leaves a GPU's memory, and who comes to it on account of use.

#include "tests/unit/daemon/core/gpu_fixture.h"

namespace kvferry::core {
namespace {

using protocol::BlockState;
using protocol::PackResidence;
using protocol::ResidenceState;
using test::IsOk;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class GpuRoomTest : public GpuFixture {
 protected:
  static constexpr uint64_t kBlock = 4096;
  std::vector<BlockKey> Keys(uint64_t first, uint64_t count) {
    std::vector<BlockKey> keys;
    for (uint64_t i = 0; i < count; ++i) keys.push_back(Key(first + i));
    return keys;
  }
  // The session hits `key` in host memory.
  void Hit(TestSession& session, const BlockKey& key) {
    session.Touch(PackResidence(Find(key)));
  }
};

// Goal    More than the high watermark in use: the coldest go until the low one
//         is left, and their keys stay in host memory.
TEST_F(GpuRoomTest, AboveTheHighWatermarkTheColdestAreDropped) {
  MakeGpu(40, 10, {.high_watermark = 0.8, .low_watermark = 0.5});
  EXPECT_EQ(Pool().high_blocks, 8u);
  EXPECT_EQ(Pool().low_blocks, 5u);
  auto session = GpuSession(0);
  for (uint64_t i = 0; i < 8; ++i) {
    now_ms_ = 10 * i;
    PublishGpu(*session, 1 + static_cast<uint32_t>(i), {Key(i + 1)});
  }
  CopyAll();
  TickAt(100);
  EXPECT_EQ(Pool().dropped, 0u);
  session->Touch(PackResidence(FindGpu(Key(1))));  // the oldest, but in use

  now_ms_ = 110;
  PublishGpu(*session, 20, {Key(9)});
  CopyAll();

  EXPECT_EQ(Pool().dropped, 4u);
  EXPECT_EQ(Pool().ready, 5u);
  EXPECT_TRUE(GpuReady(Key(1)));
  EXPECT_FALSE(GpuReady(Key(2)));
  EXPECT_FALSE(GpuReady(Key(5)));
  EXPECT_TRUE(GpuReady(Key(6)));
  for (uint64_t i = 1; i <= 9; ++i) EXPECT_TRUE(Ready(Key(i)));
}

TEST_F(GpuRoomTest, TailsOfAPrefixAreDroppedBeforeItsHead) {
  MakeGpu(40, 10, {.high_watermark = 0.4, .low_watermark = 0.2});
  auto session = GpuSession(0);
  PublishGpu(*session, 1, Keys(1, 5));

  CopyAll();
  TickAt(20);

  EXPECT_EQ(Pool().ready, 2u);
  EXPECT_TRUE(GpuReady(Key(1)));
  EXPECT_TRUE(GpuReady(Key(2)));
  EXPECT_FALSE(GpuReady(Key(3)));
}

TEST_F(GpuRoomTest, WhatIsNotCleanIsNotDropped) {
  MakeGpu(40, 10, {.high_watermark = 0.2, .low_watermark = 0.0});
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  PublishGpu(*session, 2, {Key(2)});
  PublishGpu(*session, 3, {Key(3)});

  TickAt(100);
  EXPECT_EQ(Pool().dropped, 0u);

  CopyAll();
  TickAt(200);
  EXPECT_EQ(Pool().dropped, 3u);
}

TEST_F(GpuRoomTest, WhatIsReadIsNotDropped) {
  MakeGpu(40, 10, {.high_watermark = 0.1, .low_watermark = 0.0});
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  PublishGpu(*session, 2, {Key(2)});
  session->Pin(FindGpu(Key(1)).block);
  CopyAll();
  TickAt(100);

  EXPECT_TRUE(GpuReady(Key(1)));
  EXPECT_FALSE(GpuReady(Key(2)));
}

TEST_F(GpuRoomTest, APinInHostMemoryDoesNotKeepTheOtherResidence) {
  MakeGpu(40, 10, {.high_watermark = 0.0, .low_watermark = 0.0});
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  const std::vector<CopyOrder> orders = Take();
  session->Pin(orders.at(0).host_block);
  Done(orders[0]);

  EXPECT_FALSE(GpuReady(Key(1)));
  EXPECT_TRUE(Ready(Key(1)));
}

// Goal    A ticket keeps the key, not its place in GPU memory.
TEST_F(GpuRoomTest, ATicketHoldsTheHostResidence) {
  MakeGpu(4, 2, {.high_watermark = 0.0, .low_watermark = 0.0});
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  ASSERT_THAT(core_->HoldLease(Request({Key(1)})), IsOk());

  CopyAll();

  EXPECT_FALSE(GpuReady(Key(1)));
  EXPECT_EQ(core_->Evict("", 1, 10).evicted, 0u);
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(GpuRoomTest, EvictionTakesBothResidences) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  CopyAll();

  EXPECT_EQ(core_->Evict("", 1, 10).evicted, 1u);

  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_EQ(Pool().free, 4u);
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(GpuRoomTest, APinOfEitherResidenceKeepsTheKey) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  PublishGpu(*session, 2, {Key(2)});
  CopyAll();
  session->Pin(FindGpu(Key(1)).block);
  session->Pin(Find(Key(2)).block);

  const EvictCounts counts = core_->Evict("", 10, 10);

  EXPECT_EQ(counts.evicted, 0u);
  EXPECT_EQ(counts.pinned, 2u);
  for (const BlockKey& key : {Key(1), Key(2)}) {
    EXPECT_TRUE(Ready(key));
    EXPECT_TRUE(GpuReady(key));
  }
  session->Unpin(FindGpu(Key(1)).block);
  EXPECT_EQ(core_->Evict("", 10, 20).evicted, 1u);
}

TEST_F(GpuRoomTest, WhatIsOnItsWayToHostMemoryIsNotEvicted) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  const std::vector<CopyOrder> orders = Take();

  EXPECT_EQ(core_->Evict("", 10, 10).evicted, 0u);
  Done(orders.at(0));
  EXPECT_EQ(core_->Evict("", 10, 20).evicted, 1u);
}

TEST_F(GpuRoomTest, AHitInHostMemoryIsPromotedWithItsPrefix) {
  MakeGpu(8, 4, {.promotion_bytes_per_second = 100 * kBlock});
  auto session = GpuSession(0);
  const std::vector<uint32_t> host = Publish(*session, 1, Keys(1, 3));
  Hit(*session, Key(3));
  TickAt(10);

  const std::vector<CopyOrder> orders = Take();
  ASSERT_THAT(orders, SizeIs(3));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(orders[i].to_host);
    EXPECT_EQ(orders[i].host_block, host[i]);  // front first
    EXPECT_EQ(StateOf(orders[i].gpu_block), BlockState::kInIo);
  }
  EXPECT_FALSE(GpuReady(Key(1)));
  EXPECT_EQ(core_->Evict("", 10, 20).evicted, 0u);  // held meanwhile
  ExpectSound();

  for (const CopyOrder& order : orders) Done(order);
  EXPECT_EQ(FindGpu(Key(3)).block, orders[2].gpu_block);
  EXPECT_TRUE(GpuReady(Key(1)));
  EXPECT_EQ(Pool().promoted, 3u);
  EXPECT_EQ(core_->Evict("", 10, 30).evicted, 3u);
}

TEST_F(GpuRoomTest, WithoutABudgetNothingIsPromoted) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  Publish(*session, 1, {Key(1)});
  Hit(*session, Key(1));
  TickAt(10);

  EXPECT_THAT(Take(), IsEmpty());
}

TEST_F(GpuRoomTest, OnlyWhoHasTheDevicePromotes) {
  MakeGpu(8, 4, {.promotion_bytes_per_second = 100 * kBlock});
  auto session = Session(0);
  auto elsewhere = Session(1);
  ASSERT_THAT(core_->SetSessionGpu(1, kDevice + 1), IsOk());
  Publish(*session, 1, {Key(1)});
  Hit(*session, Key(1));
  Hit(*elsewhere, Key(1));
  TickAt(10);

  EXPECT_THAT(Take(), IsEmpty());
}

TEST_F(GpuRoomTest, ABudgetIsRefilledByTime) {
  MakeGpu(8, 4, {.promotion_bytes_per_second = 2 * kBlock});
  auto session = GpuSession(0);
  Publish(*session, 1, Keys(1, 4));
  Hit(*session, Key(4));
  TickAt(10);
  std::vector<CopyOrder> orders = Take();
  ASSERT_THAT(orders, SizeIs(2));
  for (const CopyOrder& order : orders) Done(order);
  EXPECT_TRUE(GpuReady(Key(2)));

  Hit(*session, Key(4));
  TickAt(20);
  EXPECT_THAT(Take(), IsEmpty());
  Hit(*session, Key(4));
  TickAt(20 + 500);
  orders = Take();
  ASSERT_THAT(orders, SizeIs(1));
  Done(orders[0]);
  EXPECT_TRUE(GpuReady(Key(3)));
}

TEST_F(GpuRoomTest, PromotionDropsOnlyWhatIsColder) {
  MakeGpu(8, 2, {.high_watermark = 1, .promotion_bytes_per_second = 1 << 30});
  auto session = GpuSession(0);
  Publish(*session, 9, {Key(3)});
  now_ms_ = 10;
  PublishGpu(*session, 1, {Key(1)});
  PublishGpu(*session, 2, {Key(2)});
  CopyAll();

  // All are as warm.
  Hit(*session, Key(3));
  session->Touch(PackResidence(FindGpu(Key(1))));
  session->Touch(PackResidence(FindGpu(Key(2))));
  TickAt(20);
  EXPECT_THAT(Take(), IsEmpty());

  Hit(*session, Key(3));
  TickAt(30);
  EXPECT_THAT(Take(), SizeIs(1));
  EXPECT_EQ(Pool().dropped, 1u);
}

TEST_F(GpuRoomTest, AFailedPromotionLeavesThingsAsTheyWere) {
  MakeGpu(8, 4, {.promotion_bytes_per_second = 100 * kBlock});
  auto session = GpuSession(0);
  Publish(*session, 1, {Key(1)});
  Hit(*session, Key(1));
  TickAt(10);

  Done(Take().at(0), /*ok=*/false);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_FALSE(GpuReady(Key(1)));
  EXPECT_EQ(Pool().free, 4u);
  EXPECT_EQ(core_->Evict("", 1, 20).evicted, 1u);
}

TEST_F(GpuRoomTest, APromotionDoesNotSurviveItsPool) {
  MakeGpu(8, 4, {.promotion_bytes_per_second = 100 * kBlock});
  auto session = GpuSession(0);
  Publish(*session, 1, Keys(1, 2));
  Hit(*session, Key(2));
  TickAt(10);
  const std::vector<CopyOrder> running = Take(1);  // the other waits

  core_->PoolDown(kPool, 20);
  Done(running.at(0));

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_TRUE(Ready(Key(2)));
  EXPECT_FALSE(GpuReady(Key(1)));
  EXPECT_EQ(Pool().absent, 4u);
  EXPECT_EQ(core_->counts(0).resting, 0u);  // it was only read
  EXPECT_EQ(core_->Evict("", 2, 20).evicted, 2u);
}

TEST_F(GpuRoomTest, APromotionDoesNotSurviveAClear) {
  MakeGpu(8, 4, {.promotion_bytes_per_second = 100 * kBlock});
  auto session = GpuSession(0);
  Publish(*session, 1, Keys(1, 2));
  Hit(*session, Key(2));
  TickAt(10);
  const std::vector<CopyOrder> running = Take(1);

  EXPECT_EQ(core_->Clear(), 2u);
  EXPECT_EQ(Pool().quarantined, 1u);
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  EXPECT_EQ(core_->counts(0).free, 7u);
  Done(running.at(0));
  TickAt(20);

  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_EQ(Pool().free, 4u);
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(GpuRoomTest, PromotionsGetTheirTurn) {
  MakeGpu(64, 40, {.promotion_bytes_per_second = 100 * kBlock});
  auto session = GpuSession(0);
  Publish(*session, 1, {Key(100)});
  Hit(*session, Key(100));
  TickAt(10);
  PublishGpu(*session, 2, Keys(1, 16));

  const std::vector<CopyOrder> orders = Take(8);
  ASSERT_THAT(orders, SizeIs(8));
  size_t to_host = 0;
  for (const CopyOrder& order : orders) to_host += order.to_host ? 1 : 0;
  EXPECT_EQ(to_host, 7u);
}

// Goal    An eviction on account of full buckets takes keys of both memories
//         with their GPU blocks, and leaves the pool's tree sound.
TEST_F(GpuRoomTest, FullBucketsMakeRoomInBothMemories) {
  MakeGpu(200, 150, {.high_watermark = 1});
  auto session = GpuSession(0);
  for (uint32_t i = 0; i < 600; ++i) {
    now_ms_ = i;
    PublishGpu(*session, i + 1, {Key(7 * i + 1), Key(7 * i + 2)});
    CopyAll();
    if (i % 100 == 0) ExpectSound();
  }
  EXPECT_GT(core_->counters().evicted_blocks, 0u);
  EXPECT_GT(Pool().dropped, 0u);
}

}  // namespace
}  // namespace kvferry::core
