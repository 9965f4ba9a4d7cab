// What is published into GPU memory: visible there at once, in host memory once
// it was copied.

#include "tests/unit/daemon/core/gpu_fixture.h"

namespace kvferry::core {
namespace {

using protocol::BlockState;
using protocol::PublishAnswer;
using protocol::ResidenceState;
using test::IsOk;
using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

using GpuWriteBehindTest = GpuFixture;

TEST_F(GpuWriteBehindTest, TheHeaderNamesThePool) {
  MakeGpu(8, 4);
  const auto& header = *index_->At<protocol::IndexHeader>(0);

  EXPECT_EQ(header.host_blocks, 8u);
  EXPECT_EQ(header.block_capacity, 12u);
  ASSERT_EQ(header.gpu_pool_count, 1u);
  EXPECT_EQ(header.gpu_pools[0].first_block, 8u);
  EXPECT_EQ(header.gpu_pools[0].block_count, 4u);
  EXPECT_EQ(header.gpu_pools[0].incarnation, 1u);
}

// Goal    A key goes through the states of the table at NamespaceCore.
// Method  Each step of one publication, and what slot and blocks say after it.
TEST_F(GpuWriteBehindTest, AKeyIsReadyInGpuMemoryFirst) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(session->Answers(), ElementsAre(PublishAnswer::kYours));
  const uint32_t gpu = session->AnsweredBlocks().at(0);

  EXPECT_TRUE(InPool(gpu));
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  EXPECT_EQ(FindGpu(Key(1)).state, ResidenceState::kPending);
  EXPECT_EQ(core_->counts(0).publishing, 1u);
  EXPECT_EQ(Pool().publishing, 1u);

  ASSERT_THAT(session->Commit(1, 0, 1), IsOk());
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  EXPECT_EQ(FindGpu(Key(1)).state, ResidenceState::kReady);
  EXPECT_EQ(core_->counts(0).in_io, 1u);
  EXPECT_EQ(Pool().not_clean, 1u);
  EXPECT_EQ(core_->copies_waiting(kDevice), 1u);
  EXPECT_EQ(core_->copies_waiting(kDevice + 1), 0u);
  ExpectSound();

  const std::vector<CopyOrder> orders = Take();
  ASSERT_THAT(orders, SizeIs(1));
  EXPECT_EQ(orders[0].pool, kPool);
  EXPECT_EQ(orders[0].gpu_block, gpu);
  EXPECT_TRUE(orders[0].to_host);
  EXPECT_EQ(core_->copies_waiting(kDevice), 0u);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);

  Done(orders[0]);
  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(1)).block, orders[0].host_block);
  EXPECT_TRUE(GpuReady(Key(1)));
  EXPECT_EQ(Pool().written_behind, 1u);
  EXPECT_EQ(Pool().not_clean, 0u);
  EXPECT_EQ(core_->counters().published_blocks, 1u);
}

// Goal    Who can read host memory only is woken when a key comes there.
// Method  The publication has ended by then; its word is bumped all the same.
TEST_F(GpuWriteBehindTest, ACopyWakesThePublicationsReaders) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1), Key(2)});
  const uint32_t slot = session->slot(1);
  ASSERT_FALSE(IsOpen(slot));
  core_->TakeWakes();

  const std::vector<CopyOrder> orders = Take();
  Done(orders.at(0));
  EXPECT_THAT(core_->TakeWakes(), ElementsAre(&publication(slot).changes));

  core_->PoolDown(kPool, 0);  // Key(2) is lost
  EXPECT_THAT(core_->TakeWakes(), ElementsAre(&publication(slot).changes));
}

TEST_F(GpuWriteBehindTest, WhoComesLaterFindsItExisting) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  auto other = Session(1);

  // Not in host memory yet.
  ASSERT_THAT(other->Open(1, 5), IsOk());
  ASSERT_THAT(other->Begin(1, 0, {Key(1)}), IsOk());

  EXPECT_THAT(other->Answers(), ElementsAre(PublishAnswer::kExists));
}

TEST_F(GpuWriteBehindTest, WhileItIsWrittenOthersAreToldSo) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  auto other = Session(1);
  ASSERT_THAT(other->Open(1, 5), IsOk());
  ASSERT_THAT(other->Begin(1, 0, {Key(1)}), IsOk());

  EXPECT_THAT(other->Answers(), ElementsAre(PublishAnswer::kInFlight));
}

TEST_F(GpuWriteBehindTest, AFailedCopyIsRepeatedOnce) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});

  Done(Take().at(0), /*ok=*/false);
  EXPECT_TRUE(GpuReady(Key(1)));
  const std::vector<CopyOrder> again = Take();
  ASSERT_THAT(again, SizeIs(1));
  Done(again[0]);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Pool().lost, 0u);
}

TEST_F(GpuWriteBehindTest, AKeyThatCannotBeCopiedLeaves) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1), Key(2)});
  const std::vector<CopyOrder> orders = Take();
  ASSERT_THAT(orders, SizeIs(2));
  Done(orders[1]);
  session->Pin(orders[0].gpu_block);

  Done(orders[0], false);
  Done(Take().at(0), false);

  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_TRUE(Ready(Key(2)));
  EXPECT_EQ(Pool().lost, 1u);
  // Somebody reads it.
  EXPECT_EQ(StateOf(orders[0].gpu_block), BlockState::kQuarantined);
  EXPECT_EQ(StateOf(orders[0].host_block), BlockState::kFree);
  session->Unpin(orders[0].gpu_block);
  TickAt(10);
  EXPECT_EQ(StateOf(orders[0].gpu_block), BlockState::kFree);
}

TEST_F(GpuWriteBehindTest, AnIdThatIsNoOrderIsIgnored) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});

  core_->CopyDone(77, true, 0);
  core_->CopyDone(1, true, 0);  // waits still: no worker has it

  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  const std::vector<CopyOrder> orders = Take();
  ASSERT_THAT(orders, SizeIs(1));
  Done(orders[0]);
  Done(orders[0], false);
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(GpuWriteBehindTest, RoomIsTheMostThatIsHandedOut) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1), Key(2), Key(3)});

  EXPECT_THAT(Take(0), SizeIs(0));
  EXPECT_THAT(Take(2), SizeIs(2));
  EXPECT_EQ(core_->copies_waiting(kDevice), 1u);
  EXPECT_THAT(Take(2), SizeIs(1));
}

TEST_F(GpuWriteBehindTest, WithoutGpuBlocksItSpillsToHostMemory) {
  MakeGpu(16, 2);
  auto session = GpuSession(0);
  const std::vector<uint32_t> blocks =
      PublishGpu(*session, 1, {Key(1), Key(2), Key(3)});

  // The pool's two blocks are not clean.
  ASSERT_THAT(blocks, SizeIs(3));
  EXPECT_TRUE(InPool(blocks[0]));
  EXPECT_TRUE(InPool(blocks[1]));
  EXPECT_FALSE(InPool(blocks[2]));
  EXPECT_TRUE(Ready(Key(3)));
  EXPECT_FALSE(GpuReady(Key(3)));
  EXPECT_EQ(Pool().spilled, 1u);
}

TEST_F(GpuWriteBehindTest, CleanBlocksMakeWay) {
  MakeGpu(16, 2);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1)});
  PublishGpu(*session, 2, {Key(2)});
  CopyAll();

  const std::vector<uint32_t> blocks = PublishGpu(*session, 3, {Key(3)});

  EXPECT_TRUE(InPool(blocks.at(0)));
  EXPECT_TRUE(GpuReady(Key(3)));
  EXPECT_EQ(Pool().spilled, 0u);
  EXPECT_GE(Pool().dropped, 1u);
  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_TRUE(Ready(Key(2)));
}

TEST_F(GpuWriteBehindTest, WithoutAHostBlockThereIsNoSpace) {
  MakeGpu(2, 2);
  auto session = GpuSession(0);
  PublishGpu(*session, 1, {Key(1), Key(2)});

  ASSERT_THAT(session->Open(2, 2), IsOk());
  ASSERT_THAT(BeginGpu(*session, 2, 0, {Key(3)}), IsOk());

  EXPECT_EQ(session->Answers().back(), PublishAnswer::kNoSpace);
  EXPECT_EQ(core_->counters().no_space, 1u);
}

TEST_F(GpuWriteBehindTest, AnAbortGivesBothBlocksBack) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(session->Abort(1, 0, 1), IsOk());

  EXPECT_TRUE(Gone(Key(1)));
  EXPECT_EQ(core_->counts(0).free, 8u);
  EXPECT_EQ(Pool().free, 4u);
}

TEST_F(GpuWriteBehindTest, RanksJoinInTheBlockThatTheEntryHas) {
  MakeWith(8, 2, {{.bytes = 4 * 8192}});
  core_->PoolUp(kPool, 0);
  auto first = GpuSession(0);
  auto second = GpuSession(1);
  ASSERT_THAT(first->Open(1, 9, 0b01), IsOk());
  ASSERT_THAT(second->Open(1, 9, 0b10), IsOk());
  ASSERT_THAT(BeginGpu(*first, 1, 0, {Key(1)}), IsOk());
  // It asks for host memory.
  ASSERT_THAT(second->Begin(1, 0, {Key(1)}), IsOk());

  EXPECT_EQ(second->AnsweredBlocks(), first->AnsweredBlocks());
  ASSERT_THAT(first->Commit(1, 0, 1), IsOk());
  EXPECT_FALSE(GpuReady(Key(1)));
  ASSERT_THAT(second->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(GpuReady(Key(1)));
}

TEST_F(GpuWriteBehindTest, AStandbyInAPoolTakesOver) {
  MakeGpu(8, 4);
  auto first = Session(0);
  auto second = GpuSession(1);
  ASSERT_THAT(first->Open(1, 1), IsOk());
  ASSERT_THAT(first->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(second->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(BeginGpu(*second, 1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(second->Answers(), ElementsAre(PublishAnswer::kStandby));
  ASSERT_THAT(second->Commit(1, 0, 1), IsOk());
  ExpectSound();

  ASSERT_THAT(first->Abort(1, 0, 1), IsOk());

  EXPECT_TRUE(GpuReady(Key(1)));
  CopyAll();
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(GpuWriteBehindTest, AStandbyInAPoolIsLetGo) {
  MakeGpu(8, 4);
  auto first = Session(0);
  auto second = GpuSession(1);
  ASSERT_THAT(first->Open(1, 1), IsOk());
  ASSERT_THAT(first->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(second->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(BeginGpu(*second, 1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(first->Commit(1, 0, 1), IsOk());

  EXPECT_EQ(core_->counts(0).free, 7u);
  EXPECT_EQ(Pool().quarantined, 1u);
  ASSERT_THAT(second->Commit(1, 0, 1), IsOk());
  EXPECT_EQ(second->Answers().back(), PublishAnswer::kExists);
  EXPECT_EQ(Pool().free, 4u);
}

TEST_F(GpuWriteBehindTest, TailsKeepTheirLength) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  ASSERT_THAT(session->Begin(1, 0, {Key(1)}, {}, {}, 0, 5, kPool), IsOk());
  ASSERT_THAT(session->Commit(1, 0, 1), IsOk());
  CopyAll();

  EXPECT_EQ(static_cast<uint32_t>(state(FindGpu(Key(1)).block).content), 5u);
  EXPECT_EQ(static_cast<uint32_t>(state(Find(Key(1)).block).content), 5u);
}

// Goal    What the daemon cannot place breaks the protocol, and says how.
TEST_F(GpuWriteBehindTest, APoolThatIsNotTheirsIsRefused) {
  MakeGpu(8, 4);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  auto begin = [&](uint8_t pool, uint8_t group = 0) {
    return session->Begin(1, 0, {Key(1)}, {}, {}, group, 0, pool);
  };
  EXPECT_THAT(begin(2), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("GPU pool 2, the namespace has 1")));
  EXPECT_THAT(begin(255), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(session->Return({8}, 7),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("return: GPU pool 7")));
  // A host block offered for the pool, and one of the pool for the host.
  EXPECT_THAT(BeginGpu(*session, 1, 0, {Key(1)}, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("block 0 is not granted")));
  EXPECT_THAT(session->Begin(1, 0, {Key(1)}, {8}),
              StatusIs(absl::StatusCode::kInvalidArgument));

  auto other = Session(1);  // has opened no device
  ASSERT_THAT(other->Open(1, 2), IsOk());
  EXPECT_THAT(BeginGpu(*other, 1, 0, {Key(2)}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("device 0, which the session has not")));
}

TEST_F(GpuWriteBehindTest, APoolOfAnotherGroupIsRefused) {
  NamespaceSpec spec;
  spec.groups = {OpaqueGroup(16, 4096, 1), OpaqueGroup(16, 4096, 1)};
  MakeSpec(spec, 8, {{.bytes = 4 * 4096}}, {});
  core_->PoolUp(1, 0);
  core_->PoolUp(2, 0);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());

  EXPECT_THAT(session->Begin(1, 0, {Key(1)}, {}, {}, 0, 0, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("GPU pool 2 is of group 1, not of group 0")));
  EXPECT_THAT(session->Begin(1, 0, {Key(1)}, {}, {}, 1, 0, 2), IsOk());
}

TEST_F(GpuWriteBehindTest, ASessionHasOneDevice) {
  MakeGpu(8, 4);
  auto session = GpuSession(3);

  EXPECT_THAT(core_->SetSessionGpu(3, kDevice), IsOk());
  EXPECT_THAT(core_->SetSessionGpu(3, 5),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(core_->SetSessionGpu(4, kDevice),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(core_->session_counts(3).gpu_device, kDevice);
}

// Goal    Grants ahead of use are of the pool that was begun in.
// Method  A pool of which 1 % is some blocks; grants are offered and given
// back.
TEST_F(GpuWriteBehindTest, GrantsAheadAreOfThePool) {
  MakeGpu(400, 400);
  auto session = GpuSession(0);
  ASSERT_THAT(session->Open(1, 1), IsOk());
  EXPECT_EQ(core_->session_counts(0).gpu_granted, 0u);
  ASSERT_THAT(BeginGpu(*session, 1, 0, {Key(1)}), IsOk());
  EXPECT_EQ(core_->session_counts(0).gpu_granted, 4u);
  std::vector<uint32_t> granted;
  for (const auto& reply : session->replies) {
    if (reply.type != static_cast<uint8_t>(protocol::ReplyType::kGrant) ||
        reply.pool != kPool) {
      continue;
    }
    granted.insert(granted.end(), reply.blocks, reply.blocks + reply.count);
  }
  ASSERT_THAT(granted, SizeIs(4));
  EXPECT_TRUE(InPool(granted[0]));

  ASSERT_THAT(BeginGpu(*session, 1, 1, {Key(2)}, {granted[0]}), IsOk());
  EXPECT_EQ(FindGpu(Key(2)).block, granted[0]);
  ASSERT_THAT(session->Return({granted[1]}, kPool), IsOk());
  EXPECT_EQ(StateOf(granted[1]), BlockState::kFree);
}

TEST_F(GpuWriteBehindTest, BlocksOfThePoolHaveTheirOverhead) {
  MakeGpu(100000, 100000);
  const uint32_t with = core_->overhead_bytes_per_block();
  Make(100000);
  const uint32_t without = core_->overhead_bytes_per_block();

  EXPECT_LE(without, 128u);
  EXPECT_GT(with, without);
  EXPECT_LE(with, without + 64);
}

}  // namespace
}  // namespace kvferry::core
