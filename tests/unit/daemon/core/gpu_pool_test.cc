// A GPU's memory that goes and comes again, and processes that die beside it.

#include "tests/unit/daemon/core/gpu_fixture.h"

namespace kvferry::core {
namespace {

using protocol::BlockState;
using protocol::kGpuRestMs;
using protocol::PublishAnswer;
using protocol::ReplyType;
using protocol::ResidenceState;
using test::IsOk;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

using GpuPoolTest = GpuFixture;

std::vector<protocol::ReplyRecord> Recalls(const TestSession& session) {
  std::vector<protocol::ReplyRecord> recalls;
  for (const auto& reply : session.replies) {
    if (reply.type == static_cast<uint8_t>(ReplyType::kRecall)) {
      recalls.push_back(reply);
    }
  }
  return recalls;
}

TEST_F(GpuPoolTest, AnIncarnationIsOddWhileThereIsMemory) {
  MakeGpu(8, 4);
  EXPECT_EQ(incarnation(), 1u);
  core_->PoolDown(kPool, 0);
  EXPECT_EQ(incarnation(), 2u);
  EXPECT_EQ(Pool().absent, 4u);
  core_->PoolDown(kPool, 0);  // is down
  EXPECT_EQ(incarnation(), 2u);
  core_->PoolUp(kPool, 0);
  EXPECT_EQ(incarnation(), 3u);
  EXPECT_EQ(Pool().free, 4u);
}

TEST_F(GpuPoolTest, WithoutMemoryEverythingSpills) {
  MakeGpu(8, 4);
  core_->PoolDown(kPool, 0);
  auto session = GpuSession(0);

  const std::vector<uint32_t> blocks = PublishGpu(*session, 1, {Key(1)});

  EXPECT_FALSE(InPool(blocks.at(0)));
  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Pool().spilled, 1u);
}

TEST_F(GpuPoolTest, KeysThatHostMemoryHasSurvive) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1), Key(2)});
  CopyAll();

  core_->PoolDown(kPool, 0);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_TRUE(Ready(Key(2)));
  EXPECT_FALSE(GpuReady(Key(1)));
  EXPECT_EQ(Pool().lost, 0u);
  EXPECT_EQ(Pool().absent, 4u);
  // Nothing holds them to a pool that is gone.
  EXPECT_EQ(core_->Evict("", 2, 10).evicted, 2u);
}

TEST_F(GpuPoolTest, KeysWhoseCopyWaitsAreLost) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});

  core_->PoolDown(kPool, 0);

  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_EQ(Pool().lost, 1u);
  EXPECT_EQ(core_->counts(0).free, 8u);  // no copy had begun
  EXPECT_EQ(core_->copies_waiting(kDevice), 0u);
  core_->PoolUp(kPool, 0);
  EXPECT_THAT(Take(), IsEmpty());
}

// Goal    Host memory that a dead worker's device may be writing rests.
// Method  The pool goes down while a copy is the worker's; the block is free
//         only after kGpuRestMs, and a late completion says nothing.
TEST_F(GpuPoolTest, WhereACopyWasRunningIntoRests) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  const std::vector<CopyOrder> orders = Take();
  ASSERT_THAT(orders, SizeIs(1));

  core_->PoolDown(kPool, 100);
  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_EQ(Pool().lost, 1u);
  EXPECT_EQ(StateOf(orders[0].host_block), BlockState::kQuarantined);
  EXPECT_EQ(core_->counts(0).resting, 1u);
  EXPECT_EQ(StateOf(orders[0].gpu_block), BlockState::kAbsent);
  Done(orders[0]);
  EXPECT_TRUE(Gone(Key(1)));

  TickAt(100 + kGpuRestMs - 1);
  EXPECT_EQ(StateOf(orders[0].host_block), BlockState::kQuarantined);
  TickAt(100 + kGpuRestMs);
  EXPECT_EQ(StateOf(orders[0].host_block), BlockState::kFree);
  EXPECT_EQ(core_->counts(0).resting, 0u);
}

TEST_F(GpuPoolTest, WhatWasBeingPublishedThereIsAborted) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  const uint32_t gpu = session->AnsweredBlocks().at(0);

  core_->PoolDown(kPool, 0);
  EXPECT_TRUE(Gone(Key(1)));
  // Its writer has not let go.
  EXPECT_EQ(StateOf(gpu), BlockState::kQuarantined);
  core_->PoolUp(kPool, 0);
  EXPECT_EQ(Pool().free, 3u);
  ExpectSound();
  ASSERT_THAT(session->Commit(1, 0, 1), IsOk());

  EXPECT_EQ(session->Answers().back(), PublishAnswer::kVoid);
  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_EQ(Pool().free, 4u);
  EXPECT_EQ(core_->counts(0).free, 8u);
}

TEST_F(GpuPoolTest, AStandbyInHostMemoryTakesOver) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  auto other = GpuSession(1);
  ASSERT_THAT(other->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(other->Begin(1, 0, {Key(1)}), IsOk());
  // One in the pool that dies with it.
  auto third = GpuSession(2);
  ASSERT_THAT(third->OpenStandby(1, 3), IsOk());
  ASSERT_THAT(BeginGpu(*third, 1, 0, {Key(1)}), IsOk());

  core_->PoolDown(kPool, 0);

  EXPECT_EQ(Find(Key(1)).block, other->AnsweredBlocks().at(0));
  ASSERT_THAT(other->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
  ASSERT_THAT(third->Commit(1, 0, 1), IsOk());
  EXPECT_EQ(third->Answers().back(), PublishAnswer::kVoid);
}

TEST_F(GpuPoolTest, WhatIsReadThereStaysUntilItIsLetGo) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  CopyAll();
  const uint32_t gpu = FindGpu(Key(1)).block;
  session->Pin(gpu);

  core_->PoolDown(kPool, 0);
  EXPECT_EQ(StateOf(gpu), BlockState::kQuarantined);
  session->Unpin(gpu);
  TickAt(10);
  EXPECT_EQ(StateOf(gpu), BlockState::kAbsent);
}

// Goal    A block granted of the memory before is never taken for one of the
//         new one: what its session has written there is not in it.
// Method  The session offers it after the pool went down and came again.
TEST_F(GpuPoolTest, GrantsOfTheMemoryBeforeAreGoodForNothing) {
  MakeGpu(400, 400);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  std::vector<uint32_t> granted;
  for (const uint32_t block : session->granted) {
    if (InPool(block)) granted.push_back(block);
  }
  ASSERT_THAT(granted, SizeIs(4));

  core_->PoolDown(kPool, 0);
  ASSERT_THAT(Recalls(*session), SizeIs(1));
  EXPECT_EQ(Recalls(*session)[0].pool, kPool);
  EXPECT_EQ(Recalls(*session)[0].count, 4u);
  core_->PoolUp(kPool, 0);
  ASSERT_THAT(BeginGpu(*session, 1, 1, {Key(2)}, {granted[0]}), IsOk());

  EXPECT_EQ(session->Answers().back(), PublishAnswer::kNoSpace);
  EXPECT_EQ(StateOf(granted[0]), BlockState::kGranted);
  ExpectSound();
  ASSERT_THAT(session->Return(granted, kPool), IsOk());
  EXPECT_EQ(StateOf(granted[0]), BlockState::kFree);
  ASSERT_THAT(BeginGpu(*session, 1, 2, {Key(3)}), IsOk());
  EXPECT_TRUE(InPool(session->AnsweredBlocks().back()));
}

TEST_F(GpuPoolTest, ADeadProcessOfADeviceLeavesItsBlocksToRest) {
  MakeGpu(400, 400);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(session->Begin(1, 1, {Key(2)}), IsOk());
  const std::vector<uint32_t> writing = session->AnsweredBlocks();
  ASSERT_THAT(session->granted, testing::Not(IsEmpty()));

  core_->RemoveSession(0, 1000);

  for (const uint32_t block : writing) {
    EXPECT_EQ(StateOf(block), BlockState::kQuarantined);
  }
  for (const uint32_t block : session->granted) {
    EXPECT_EQ(StateOf(block), BlockState::kQuarantined);
  }
  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_EQ(Pool().resting, 1u + 4u);
  EXPECT_EQ(core_->counts(0).resting, 1u + 4u);
  EXPECT_EQ(core_->counts(0).granted, 0u);
  ExpectSound();
  TickAt(1000 + kGpuRestMs - 1);
  EXPECT_EQ(Pool().resting, 5u);
  TickAt(1000 + kGpuRestMs);
  EXPECT_EQ(Pool().resting, 0u);
  EXPECT_EQ(Pool().free, 400u);
  EXPECT_EQ(core_->counts(0).free, 400u);
}

TEST_F(GpuPoolTest, ADeadProcessWithoutADeviceLeavesNothing) {
  MakeGpu(400, 400);
  auto session = Session(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(session->Begin(1, 0, {Key(1)}), IsOk());

  core_->RemoveSession(0, 1000);

  EXPECT_EQ(core_->counts(0).free, 400u);
}

// Goal    What a dead process's word has passed is written: it is not to rest,
//         and is copied as if it had been committed.
TEST_F(GpuPoolTest, AWillIsCopiedBehindToo) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1), Key(2)}), IsOk());
  session->Tell(1, 1);

  core_->RemoveSession(0, 1000);

  EXPECT_TRUE(GpuReady(Key(1)));
  EXPECT_TRUE(Gone(Key(2)));
  EXPECT_EQ(Pool().resting, 1u);
  CopyAll();
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(GpuPoolTest, BothRestsCount) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  const uint32_t gpu = session->AnsweredBlocks().at(0);
  core_->RemoveSession(0, 1000);

  core_->PoolDown(kPool, 1100);
  EXPECT_EQ(StateOf(gpu), BlockState::kQuarantined);
  core_->PoolUp(kPool, 1200);
  EXPECT_EQ(Pool().free, 3u);
  TickAt(1000 + kGpuRestMs);
  EXPECT_EQ(Pool().free, 4u);
}

TEST_F(GpuPoolTest, ATicketDoesNotKeepWhatWentWithTheMemory) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  const auto lease = core_->HoldLease(Request({Key(1)}, 1, 500));
  ASSERT_THAT(lease, IsOk());

  core_->PoolDown(kPool, 0);

  EXPECT_TRUE(Gone(Key(1)));
  // Its block waits for the ticket's end.
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  TickAt(500);
  EXPECT_EQ(core_->counts(0).free, 8u);
}

// Goal    Clear leaves nothing behind in either memory, and what is being
//         copied meanwhile is free only once it was.
TEST_F(GpuPoolTest, ClearWaitsForCopiesUnderWay) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  const std::vector<CopyOrder> running = Take();
  PublishGpu(*session, 2, {Key(2)});  // waits
  ASSERT_THAT(session->Open(3, 3), IsOk());
  ASSERT_THAT(BeginGpu(*session, 3, 0, {Key(3)}), IsOk());

  EXPECT_EQ(core_->Clear(), 3u);
  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_TRUE(Gone(Key(2)));
  EXPECT_TRUE(Gone(Key(3)));
  EXPECT_EQ(Pool().quarantined, 2u);
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  EXPECT_THAT(Take(), IsEmpty());
  ExpectSound();

  Done(running.at(0));
  ASSERT_THAT(session->Commit(3, 0, 1), IsOk());
  TickAt(10);
  EXPECT_EQ(Pool().free, 4u);
  EXPECT_EQ(core_->counts(0).free, 8u);
  EXPECT_EQ(Pool().written_behind, 0u);
}

TEST_F(GpuPoolTest, OperatorsSeeBothResidences) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  bool more = false;
  std::vector<BlockDescription> blocks = core_->Describe("", 10, &more);
  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_EQ(blocks[0].key, Key(1));
  EXPECT_EQ(blocks[0].state, ResidenceState::kFree);
  EXPECT_EQ(blocks[0].gpu_state, ResidenceState::kReady);
  EXPECT_EQ(blocks[0].gpu_pool, kPool);

  CopyAll();
  session->Pin(FindGpu(Key(1)).block);
  blocks = core_->Describe("", 10, &more);
  EXPECT_EQ(blocks.at(0).state, ResidenceState::kReady);
  EXPECT_EQ(blocks[0].pins, 0u);
  EXPECT_EQ(blocks[0].gpu_pins, 1u);
  EXPECT_EQ(blocks[0].gpu_block, FindGpu(Key(1)).block);
  EXPECT_EQ(core_->session_counts(0).gpu_pinned_blocks, 1u);
}

}  // namespace
}  // namespace kvferry::core
