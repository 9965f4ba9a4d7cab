#include "daemon/control/session_rings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/memory/namespace_files.h"
#include "kvferry/layout.h"
#include "protocol/limits.h"
#include "protocol/spec.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::control {
namespace {

using protocol::kRingRecords;
using protocol::PublishAnswer;
using protocol::ReplyRecord;
using protocol::ReplyType;
using protocol::SubmitRecord;
using protocol::SubmitType;
using test::IsOk;
using test::IsOkAndHolds;
using test::StatusIs;
using ::testing::HasSubstr;

constexpr uint16_t kSession = 3;
constexpr uint32_t kHandle = 1;
constexpr uint64_t kBlocks = 2048;

// A namespace of 4 KiB blocks, one session in it, and the client's mapping of
// its own half: what the client writes is written raw.
class SessionRingsTest : public testing::Test {
 protected:
  void SetUp() override {
    NamespaceSpec spec;
    spec.name = "test";
    spec.groups = {OpaqueGroup(16, 4096)};
    const auto geometry = protocol::PlanGeometry(spec, kBlocks * 4096);
    ASSERT_THAT(geometry, IsOk());
    files_ = *memory::NamespaceFiles::Make(view_, 0, *geometry);
    core_ = std::make_unique<core::NamespaceCore>(
        core::NamespaceConfig{
            .id = 0, .epoch = 1, .geometry = *geometry, .gpu = {}},
        core::NamespaceMemory{
            files_.index.mapping().At<protocol::IndexHeader>(0),
            files_.state.mapping().At<protocol::StateHeader>(0)},
        protocol::FingerprintOf(spec), NamespaceSalt{});
    for (const auto& plan : protocol::PlanSegments(*geometry)) {
      core_->AddSegment(plan);
    }
    session_files_ = *memory::SessionFiles::Make(view_, kSession, 1,
                                                 geometry->block_capacity);
    client_ = *Mapping::Map(
        session_files_.TakeClientFd().get(),
        protocol::SessionClientFileBytes(geometry->block_capacity),
        Mapping::Access::kReadWrite);
    rings_ = std::make_unique<SessionRings>(kSession, session_files_);
    ASSERT_THAT(core_->AddSession(
                    kSession, /*may_publish=*/true,
                    {session_files_.client_header(), session_files_.touches(),
                     session_files_.pins(), session_files_.progress().header()},
                    rings_.get(), 0),
                IsOk());
    ReadReplies();
  }
  void TearDown() override {
    if (core_ != nullptr) core_->RemoveSession(kSession, 0);
  }

  protocol::SessionClientHeader& header() {
    return *client_.At<protocol::SessionClientHeader>(0);
  }
  void Post(const SubmitRecord& record) {
    const uint64_t tail = header().submit_tail.load();
    client_.At<SubmitRecord>(protocol::kSubmitRingOffset)[tail % kRingRecords] =
        record;
    header().submit_tail.store(tail + 1);
  }
  void PostOpen() {
    SubmitRecord record{};
    record.type = static_cast<uint8_t>(SubmitType::kOpen);
    record.handle = kHandle;
    record.open = {1, 1, 1, 0, 0};
    Post(record);
  }
  void PostBeginHead(uint32_t first, uint32_t count) {
    SubmitRecord record{};
    record.type = static_cast<uint8_t>(SubmitType::kBegin);
    record.handle = kHandle;
    record.begin = {first, count, 0, 0};
    Post(record);
  }
  void PostBeginBlock(uint64_t key, uint32_t block = protocol::kNoBlock) {
    SubmitRecord record{};
    record.type = static_cast<uint8_t>(SubmitType::kBeginBlock);
    record.handle = kHandle;
    record.begin_block = {key << 32 | 1, key << 40 | 1, block, 0};
    Post(record);
  }
  absl::StatusOr<uint32_t> Pump(uint32_t runs_max = 100) {
    return rings_->Pump(*core_, 0, runs_max);
  }
  // What the client has not read yet; reads it.
  std::vector<ReplyRecord> ReadReplies() {
    std::vector<ReplyRecord> replies;
    const uint64_t tail = session_files_.daemon_header()->reply_tail.load();
    for (uint64_t i = header().reply_consumed.load(); i != tail; ++i) {
      replies.push_back(session_files_.reply_ring()[i % kRingRecords]);
    }
    header().reply_consumed.store(tail);
    return replies;
  }

  const test::ScratchDirectory scratch_;
  const memory::ReadOnlyView view_ =
      *memory::ReadOnlyView::Make(scratch_.path());
  memory::NamespaceFiles files_;
  memory::SessionFiles session_files_;
  Mapping client_;
  std::unique_ptr<SessionRings> rings_;
  std::unique_ptr<core::NamespaceCore> core_;
};

TEST_F(SessionRingsTest, ARunGoesInAndItsAnswersComeOut) {
  PostOpen();
  PostBeginHead(0, 2);
  PostBeginBlock(10);
  PostBeginBlock(11);
  EXPECT_TRUE(rings_->Ready());

  EXPECT_THAT(Pump(), IsOkAndHolds(2u));

  EXPECT_FALSE(rings_->Ready());
  EXPECT_EQ(session_files_.daemon_header()->submit_consumed.load(), 4u);
  uint32_t yours = 0;
  for (const ReplyRecord& reply : ReadReplies()) {
    if (reply.type == static_cast<uint8_t>(ReplyType::kAnswerBlocks)) {
      EXPECT_EQ(reply.answer, static_cast<uint8_t>(PublishAnswer::kYours));
      EXPECT_EQ(reply.handle, kHandle);
      yours += reply.count;
    }
  }
  EXPECT_EQ(yours, 2u);
}

TEST_F(SessionRingsTest, ARunThatIsNotAllThereWaits) {
  PostOpen();
  PostBeginHead(0, 2);
  PostBeginBlock(10);

  EXPECT_THAT(Pump(), IsOkAndHolds(1u));
  EXPECT_FALSE(rings_->Ready());
  EXPECT_EQ(session_files_.daemon_header()->submit_consumed.load(), 1u);

  PostBeginBlock(11);
  EXPECT_TRUE(rings_->Ready());
  EXPECT_THAT(Pump(), IsOkAndHolds(1u));
  EXPECT_EQ(session_files_.daemon_header()->submit_consumed.load(), 4u);
}

TEST_F(SessionRingsTest, TakesNoMoreRunsThanItIsAsked) {
  PostOpen();
  PostBeginHead(0, 1);
  PostBeginBlock(10);

  EXPECT_THAT(Pump(1), IsOkAndHolds(1u));
  EXPECT_TRUE(rings_->Ready());
  EXPECT_THAT(Pump(1), IsOkAndHolds(1u));
}

TEST_F(SessionRingsTest, ATailThatJumpsIsAViolation) {
  header().submit_tail.store(kRingRecords + 1);

  EXPECT_TRUE(rings_->Ready());
  EXPECT_THAT(Pump(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("tail 4097 with 0 records taken")));
}

TEST_F(SessionRingsTest, SoIsOneThatGoesBack) {
  PostOpen();
  ASSERT_THAT(Pump(), IsOkAndHolds(1u));
  header().submit_tail.store(0);

  EXPECT_THAT(Pump(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("tail 0 with 1 records taken")));
}

TEST_F(SessionRingsTest, ARunOverTheLimitIsAViolationAtOnce) {
  PostOpen();
  PostBeginHead(0, protocol::kBlocksPerRunMax + 1);

  EXPECT_THAT(Pump(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("a run of 1025 blocks")));
}

TEST_F(SessionRingsTest, WhatTheCoreRefusesIsAViolation) {
  PostOpen();
  PostBeginHead(0, 1);
  PostBeginBlock(10, /*block=*/12'345'678);

  const auto pumped = Pump();

  EXPECT_FALSE(pumped.ok());
  EXPECT_THAT(std::string(pumped.status().message()), HasSubstr("12345678"));
}

TEST_F(SessionRingsTest, ARunWaitsForRoomForAllItsReplies) {
  while (rings_->Room() > protocol::kBlocksPerRunMax - 1) rings_->Push({});
  PostOpen();
  PostBeginHead(0, protocol::kBlocksPerRunMax);
  for (uint32_t i = 0; i < protocol::kBlocksPerRunMax; ++i) {
    PostBeginBlock(100 + i);
  }

  EXPECT_THAT(Pump(), IsOkAndHolds(1u));
  EXPECT_TRUE(rings_->starved());
  EXPECT_FALSE(rings_->Ready());

  ReadReplies();
  EXPECT_TRUE(rings_->Ready());
  EXPECT_THAT(Pump(), IsOkAndHolds(1u));
  EXPECT_FALSE(rings_->starved());
}

TEST_F(SessionRingsTest, AReplyPositionThatLiesIsAViolationAndChangesNoRoom) {
  ReplyRecord reply{};
  rings_->Push(reply);
  const uint32_t room = rings_->Room();
  const uint64_t honest = header().reply_consumed.load();

  header().reply_consumed.store(1'000'000);
  EXPECT_THAT(rings_->RefreshRoom(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("1000000 records read")));
  EXPECT_EQ(rings_->Room(), room);

  header().reply_consumed.store(honest);
  ReadReplies();
  ASSERT_THAT(rings_->RefreshRoom(), IsOk());
  EXPECT_EQ(rings_->Room(), kRingRecords);
  header().reply_consumed.store(0);
  EXPECT_THAT(rings_->RefreshRoom(),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(rings_->Room(), kRingRecords);
}

// Goal    a thread asleep on the reply futex wakes, through the read-only
//         mapping that clients have.
// Method  it waits on the word's old value; Push alone leaves the word.
TEST_F(SessionRingsTest, FlushWakesWhoeverWaits) {
  const auto reader = Mapping::Map(session_files_.daemon_reader_fd(),
                                   protocol::kSessionDaemonFileBytes,
                                   Mapping::Access::kReadOnly);
  ASSERT_THAT(reader, IsOk());
  rings_->Flush();
  auto& word = reader->At<protocol::SessionDaemonHeader>(0)->reply_futex;
  const uint32_t before = word.load();
  std::atomic<bool> woken{false};
  std::thread waiter([&] {
    header().reply_waiters.fetch_add(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const timespec timeout{20, 0};
    while (word.load() == before &&
           (::syscall(SYS_futex, &word, FUTEX_WAIT, before, &timeout, nullptr,
                      0) == 0 ||
            errno == EINTR)) {
    }
    woken = word.load() != before;
  });

  rings_->Push({});
  EXPECT_EQ(word.load(), before);
  rings_->Flush();
  waiter.join();

  EXPECT_TRUE(woken);
  EXPECT_EQ(word.load(), before + 1);
}

TEST_F(SessionRingsTest, RevokingIsSeenAndWakes) {
  const uint32_t before = session_files_.daemon_header()->reply_futex.load();

  rings_->Revoke();

  EXPECT_EQ(session_files_.daemon_header()->revoked.load(), 1u);
  EXPECT_NE(session_files_.daemon_header()->reply_futex.load(), before);
}

}  // namespace
}  // namespace kvferry::control
