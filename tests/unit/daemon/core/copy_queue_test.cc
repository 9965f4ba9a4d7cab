// The order in which copies are handed out, and what is forgotten of them.

#include "daemon/core/copy_queue.h"

#include "daemon/core/promotion_budget.h"
#include "daemon/core/resting_blocks.h"
#include "gmock/gmock.h"

namespace kvferry::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<uint32_t> GpuBlocks(const std::vector<CopyOrder>& orders) {
  std::vector<uint32_t> blocks;
  for (const CopyOrder& order : orders) blocks.push_back(order.gpu_block);
  return blocks;
}

class CopyQueueTest : public testing::Test {
 protected:
  uint64_t Add(uint32_t pool, uint32_t block, bool to_host = true) {
    return queue_.Add({.pool = pool, .gpu_block = block, .to_host = to_host});
  }
  std::vector<CopyOrder> Take(const std::vector<uint32_t>& pools,
                              size_t room = 100) {
    std::vector<CopyOrder> orders;
    queue_.Take(pools, room, &orders);
    return orders;
  }
  CopyQueue queue_{2};
};

TEST_F(CopyQueueTest, OrdersOfAPoolGoInTurn) {
  Add(1, 10);
  Add(1, 11);
  EXPECT_THAT(GpuBlocks(Take({1})), ElementsAre(10, 11));
  EXPECT_THAT(Take({1}), IsEmpty());
}

TEST_F(CopyQueueTest, PoolsTakeTurns) {
  for (uint32_t i = 0; i < 3; ++i) Add(1, 10 + i);
  Add(2, 20);
  EXPECT_THAT(GpuBlocks(Take({1, 2})), ElementsAre(10, 20, 11, 12));
}

TEST_F(CopyQueueTest, APoolThatIsNotAskedForWaits) {
  Add(2, 20);
  EXPECT_THAT(Take({1}), IsEmpty());
  EXPECT_THAT(Take({}), IsEmpty());
  EXPECT_EQ(queue_.waiting(2), 1u);
}

TEST_F(CopyQueueTest, OneInEightGoesToTheGpu) {
  for (uint32_t i = 0; i < 20; ++i) Add(1, i);
  Add(1, 100, /*to_host=*/false);
  Add(1, 101, /*to_host=*/false);
  const std::vector<uint32_t> blocks = GpuBlocks(Take({1}));
  ASSERT_THAT(blocks, SizeIs(22));
  EXPECT_EQ(blocks[7], 100u);
  EXPECT_EQ(blocks[15], 101u);
}

TEST_F(CopyQueueTest, OnlyWhatWasTakenFinishesAndOnce) {
  const uint64_t id = Add(1, 10);
  EXPECT_FALSE(queue_.Finish(id).has_value());
  Take({1});
  ASSERT_TRUE(queue_.Finish(id).has_value());
  EXPECT_FALSE(queue_.Finish(id).has_value());
  EXPECT_FALSE(queue_.Finish(12345).has_value());
}

TEST_F(CopyQueueTest, APoolIsForgottenWithWhatWasTaken) {
  const uint64_t taken = Add(1, 10);
  Take({1});
  Add(1, 11);
  Add(2, 20);
  const std::vector<CopyQueue::Entry> gone = queue_.ForgetPool(1);
  ASSERT_THAT(gone, SizeIs(2));
  EXPECT_TRUE(gone[0].taken);
  EXPECT_FALSE(gone[1].taken);
  EXPECT_FALSE(queue_.Finish(taken).has_value());
  EXPECT_THAT(GpuBlocks(Take({1, 2})), ElementsAre(20));
}

TEST_F(CopyQueueTest, WhatWaitsIsTakenBack) {
  Add(1, 10);
  Take({1});
  Add(1, 11);
  ASSERT_THAT(queue_.TakeWaiting(), SizeIs(1));
  EXPECT_THAT(Take({1}), IsEmpty());
  EXPECT_THAT(queue_.entries(), SizeIs(1));
}

TEST(PromotionBudgetTest, ItHoldsASecondsWorth) {
  PromotionBudget budget(1000, 10);
  EXPECT_TRUE(budget.Take(1000, 0));
  EXPECT_FALSE(budget.Take(1, 0));
  EXPECT_FALSE(budget.Take(500, 499));
  EXPECT_TRUE(budget.Take(500, 500));
  EXPECT_FALSE(budget.Take(1001, 1000000));
  EXPECT_TRUE(budget.Take(1000, 1000000));
  budget.GiveBack(400);
  EXPECT_TRUE(budget.Take(400, 1000000));
}

TEST(PromotionBudgetTest, ABlockLargerThanTheRateFitsAfterAWhile) {
  PromotionBudget budget(100, 1000);
  EXPECT_TRUE(budget.Take(1000, 0));
  EXPECT_FALSE(budget.Take(1000, 9990));
  EXPECT_TRUE(budget.Take(1000, 10000));
}

TEST(PromotionBudgetTest, LowRatesAreNotRoundedAway) {
  PromotionBudget budget(3, 10);
  EXPECT_TRUE(budget.Take(10, 0));
  for (uint64_t now_ms = 1; now_ms < 3334; ++now_ms) {
    EXPECT_FALSE(budget.Take(10, now_ms));
  }
  EXPECT_TRUE(budget.Take(10, 3334));
}

TEST(PromotionBudgetTest, ZeroIsNothing) {
  PromotionBudget budget(0, 10);
  EXPECT_FALSE(budget.Take(1, 1000000));
}

TEST(RestingBlocksTest, TheLaterTimeCounts) {
  RestingBlocks resting;
  resting.Add(7, 100);
  resting.Add(7, 300);
  resting.Add(7, 200);
  resting.Add(9, 150);
  EXPECT_EQ(resting.Count(0, 8), 1u);
  EXPECT_EQ(resting.Count(7, 3), 2u);
  resting.Expire(299);
  EXPECT_TRUE(resting.Rests(7));
  EXPECT_FALSE(resting.Rests(9));
  resting.Expire(300);
  EXPECT_FALSE(resting.Rests(7));
}

}  // namespace
}  // namespace kvferry::core
