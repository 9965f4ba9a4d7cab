#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "sdk/publication_state.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/gpu/gpu_fixture.h"

namespace kvferry::sdk {
namespace {

using protocol::Progress;
using protocol::PublishAnswer;
using protocol::SubmitRecord;
using protocol::SubmitType;
using test::IsOk;
using test::IsOkAndHolds;
using test::StatusIs;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::byte kUntouched{0xee};

class PublishTest : public GpuFixture {
 protected:
  static constexpr uint32_t kFirstInPool = 2 * kBlocks;
  static constexpr uint32_t kSlot = 5;
  static constexpr uint32_t kRecord = 3;

  static absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

  // Opens a publication that can be followed.
  std::unique_ptr<PublicationState> Publication(
      BlockResidence residence = BlockResidence::kGpu) {
    PublicationOptions options;
    options.residence = residence;
    auto state = PublicationState::Open(attachment_, options, Soon());
    KVFERRY_CHECK(state.ok());
    for (const SubmitRecord& record : fake_.TakeSubmissions()) {
      if (record.type == static_cast<uint8_t>(SubmitType::kOpen)) {
        handle_ = record.handle;
      }
    }
    fake_.Opened(handle_, kSlot, ++generation_, kRecord);
    return *std::move(state);
  }
  // Begins keys [n, n + count) in granted blocks, of a pool or (0) the host.
  // Blocks are taken from the last one on.
  void Begin(PublicationState* state, uint64_t n, uint32_t count,
             uint32_t pool) {
    std::vector<uint32_t> granted;
    for (uint32_t i = 0; i < count; ++i) {
      granted.push_back((pool == 0 ? 0 : kFirstInPool) + next_block_++);
    }
    fake_.Grant(0, granted, pool);
    std::vector<BlockKey> keys;
    for (uint64_t k = n; k < n + count; ++k) {
      keys.push_back(test::NumberedKey(k));
    }
    KVFERRY_CHECK(state->Begin(0, {}, keys, 0, Soon()).ok());
  }
  // What was submitted of a kind since the last call: positions.
  struct Ended {
    std::vector<uint32_t> committed;
    std::vector<uint32_t> aborted;
  };
  Ended TakeEnded() {
    Ended ended;
    for (const SubmitRecord& record : fake_.TakeSubmissions()) {
      const auto type = static_cast<SubmitType>(record.type);
      if (type != SubmitType::kCommit && type != SubmitType::kAbort) continue;
      auto& list =
          type == SubmitType::kCommit ? ended.committed : ended.aborted;
      for (uint32_t i = 0; i < record.range.count; ++i) {
        list.push_back(record.range.first + i);
      }
    }
    return ended;
  }
  // An engine whose block b has key b's pattern.
  static Engine FilledEngine(EngineOrder order, uint32_t slice_first = 0,
                             uint32_t slice_count = 0) {
    Engine engine = MakeEngine(order, 0, 16, slice_first, slice_count);
    for (uint64_t b = 0; b < 16; ++b) {
      for (uint32_t s = engine.memory->slice_first();
           s < engine.memory->slice_end(); ++s) {
        KVFERRY_CHECK(
            engine.memory
                ->Scatter(b, s, Pattern(b * 64 + s, Group(0).page_bytes()))
                .ok());
      }
    }
    return engine;
  }
  // Whether the page of a position holds slice s of key n.
  bool Holds(PublicationState* state, uint32_t position, uint32_t s,
             uint64_t n) {
    const uint32_t block = state->Look(position).block;
    const std::byte* const page = Page(0, block, s);
    return std::vector<std::byte>(page, page + Group(0).page_bytes()) ==
           Pattern(n * 64 + s, Group(0).page_bytes());
  }
  absl::StatusOr<GpuTransfer> PublishFrom(
      PublicationState* state, uint32_t first, const Engine& engine,
      std::span<const uint64_t> blocks, const GpuPublishOptions& options = {}) {
    return gpu_->PublishFrom(state, first, *engine.memory, blocks, stream(),
                             options);
  }
  static GpuPublishOptions Layers(uint32_t first, uint32_t count) {
    GpuPublishOptions options;
    options.first_layer = first;
    options.layer_count = count;
    return options;
  }
  Progress word() { return fake_.progress_word(kRecord); }

  uint32_t handle_ = 0;
  uint32_t generation_ = 76;
  uint32_t next_block_ = 0;
};

// Goal    A commit goes out when the bytes are there, not before, wherever they
//         go.
// Method  The copy hangs; own pool, registered and staged host memory.
TEST_F(PublishTest, CommitsFollowTheBytes) {
  for (const bool registers : {true, false}) {
    for (const uint32_t pool : {0u, 1u}) {
      SCOPED_TRACE(testing::Message() << "pool " << pool << registers);
      gpu_.reset();
      Open(registers);
      auto state =
          Publication(pool == 0 ? BlockResidence::kHost : BlockResidence::kGpu);
      Begin(state.get(), next_block_ + 1000, 3, pool);
      const Engine engine = FilledEngine(EngineOrder::kHnd);
      const std::vector<uint64_t> blocks = {9, 0, 4};
      control_.HangWork();

      auto transfer = PublishFrom(state.get(), 0, engine, blocks);

      ASSERT_THAT(transfer, IsOk());
      control_.WaitUntilHung();
      EXPECT_FALSE(transfer->done());
      EXPECT_THAT(TakeEnded().committed, IsEmpty());
      EXPECT_EQ(word(), (Progress{generation_, 0, 0}));
      control_.Release();
      ASSERT_THAT(transfer->Wait(), IsOk());
      EXPECT_THAT(TakeEnded().committed, ElementsAre(0, 1, 2));
      EXPECT_EQ(word(), (Progress{generation_, 3, 0}));
      EXPECT_EQ(transfer->bytes(), 6 * Group(0).page_bytes());
      for (uint32_t s = 0; s < 2; ++s) {
        EXPECT_TRUE(Holds(state.get(), 0, s, 9));
        EXPECT_TRUE(Holds(state.get(), 1, s, 0));
        EXPECT_TRUE(Holds(state.get(), 2, s, 4));
      }
    }
  }
}

// Goal    Of a tail only the valid tokens are written, staged or not.
TEST_F(PublishTest, TailsLeaveTheRestAlone) {
  for (const bool registers : {true, false}) {
    gpu_.reset();
    Open(registers);
    auto state = Publication(BlockResidence::kHost);
    Begin(state.get(), next_block_ + 1000, 1, 0);
    const uint32_t block = state->Look(0).block;
    for (uint32_t s = 0; s < 2; ++s) {
      std::memset(Page(0, block, s), 0xee, Group(0).page_bytes());
    }
    const Engine engine = FilledEngine(EngineOrder::kNhd);
    const std::vector<uint64_t> blocks = {7};
    GpuPublishOptions options;
    options.last_tokens = 5;

    auto transfer = PublishFrom(state.get(), 0, engine, blocks, options);

    ASSERT_THAT(transfer, IsOk());
    ASSERT_THAT(transfer->Wait(), IsOk());
    for (uint32_t s = 0; s < 2; ++s) {
      std::vector<std::byte> expected(Group(0).page_bytes(), kUntouched);
      ASSERT_THAT(engine.memory->Gather(7, s, expected, 5), IsOk());
      const std::byte* const page = Page(0, block, s);
      EXPECT_EQ(std::vector<std::byte>(page, page + expected.size()), expected);
    }
  }
}

// Goal    Layers are told to readers in order, though a later part lands first.
// Method  The first part hangs on one stream, the second is done on another.
TEST_F(PublishTest, PartsAreToldInOrder) {
  Open();
  auto state = Publication();
  Begin(state.get(), 1000, 2, kOwnPool);
  const Engine engine = FilledEngine(EngineOrder::kPacked);
  const std::vector<uint64_t> blocks = {3, 5};
  control_.HangWork();
  auto first = PublishFrom(state.get(), 0, engine, blocks, Layers(0, 1));
  ASSERT_THAT(first, IsOk());
  control_.WaitUntilHung();
  auto second = PublishFrom(state.get(), 0, engine, blocks, Layers(1, 2));
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(second->OrderAfter({stream()}), IsOk());
  auto event = device_->CreateEvent();
  ASSERT_THAT(event, IsOk());
  ASSERT_THAT(device_->Record(event->get(), stream()), IsOk());
  ASSERT_THAT(device_->Synchronize(**event), IsOk());

  EXPECT_EQ(word(), (Progress{generation_, 0, 0}));
  EXPECT_FALSE(second->done());
  control_.Release();
  ASSERT_THAT(second->Wait(), IsOk());
  EXPECT_TRUE(first->done());
  EXPECT_EQ(word(), (Progress{generation_, 0, 3}));
  EXPECT_THAT(TakeEnded().committed, IsEmpty());

  auto last = PublishFrom(state.get(), 0, engine, blocks, Layers(3, 1));
  ASSERT_THAT(last, IsOk());
  ASSERT_THAT(last->Wait(), IsOk());
  EXPECT_EQ(word(), (Progress{generation_, 2, 0}));
  EXPECT_THAT(TakeEnded().committed, ElementsAre(0, 1));
  EXPECT_TRUE(Holds(state.get(), 0, 1, 3));
  EXPECT_TRUE(Holds(state.get(), 1, 0, 5));
}

// Goal    Layers out of order, or of another chunk, are refused: readers would
//         be told of what is not there.
TEST_F(PublishTest, PartsOutOfOrderAreRefused) {
  Open();
  auto state = Publication();
  Begin(state.get(), 1000, 3, kOwnPool);
  const Engine engine = FilledEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> two = {3, 5};
  const std::vector<uint64_t> hole = {3, kNoEngineBlock};
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

  EXPECT_THAT(PublishFrom(state.get(), 0, engine, two, Layers(1, 1)),
              StatusIs(kInvalid));
  EXPECT_THAT(PublishFrom(state.get(), 0, engine, hole, Layers(0, 1)),
              StatusIs(kInvalid));
  const auto first = PublishFrom(state.get(), 0, engine, two, Layers(0, 1));
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(PublishFrom(state.get(), 0, engine, two, Layers(2, 1)),
              StatusIs(kInvalid));
  EXPECT_THAT(PublishFrom(state.get(), 1, engine, two, Layers(1, 1)),
              StatusIs(kInvalid));
  EXPECT_THAT(PublishFrom(state.get(), 0, engine, two, Layers(4, 1)),
              StatusIs(kInvalid));
  const auto last = PublishFrom(state.get(), 0, engine, two, Layers(1, 3));
  ASSERT_THAT(last, IsOk());
  // The engine's memory is theirs until then.
  EXPECT_THAT(first->Wait(), IsOk());
  EXPECT_THAT(last->Wait(), IsOk());
}

// Goal    What need not be written is skipped and named.
TEST_F(PublishTest, PositionsThatNeedNoWritingAreSkipped) {
  Open();
  fake_.Put(test::NumberedKey(1001));
  auto state = Publication();
  Begin(state.get(), 1000, 3, kOwnPool);
  ASSERT_EQ(state->outcome(1), BlockOutcome::kExists);
  const Engine engine = FilledEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {2, 3, kNoEngineBlock};

  auto transfer = PublishFrom(state.get(), 0, engine, blocks);

  ASSERT_THAT(transfer, IsOk());
  ASSERT_THAT(transfer->Wait(), IsOk());
  EXPECT_THAT(transfer->skipped(), ElementsAre(1));
  EXPECT_THAT(TakeEnded().committed, ElementsAre(0));
  EXPECT_TRUE(Holds(state.get(), 0, 0, 2));
}

// Goal    A position that turns out to be there already is let go of only when
//         the device has done with its block, and is nobody's failure.
TEST_F(PublishTest, APositionThatExistsAfterAllIsSkipped) {
  Open();
  auto state = Publication();
  Begin(state.get(), 1000, 1, kOwnPool);
  const Engine engine = FilledEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {2};
  control_.HangWork();
  auto transfer = PublishFrom(state.get(), 0, engine, blocks);
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();
  fake_.Answer(handle_, PublishAnswer::kExists, 0, 1);
  ASSERT_EQ(state->outcome(0), BlockOutcome::kExists);
  EXPECT_EQ(attachment_->channel().granted(0, kOwnPool), 0u);
  control_.Release();

  ASSERT_THAT(transfer->Wait(), IsOk());
  EXPECT_THAT(transfer->skipped(), ElementsAre(0));
  EXPECT_THAT(TakeEnded().committed, IsEmpty());
  EXPECT_EQ(attachment_->channel().granted(0, kOwnPool), 1u);
}

// Goal    What was written into memory that has gone is aborted, never
//         committed.
TEST_F(PublishTest, MemoryThatWentMeanwhileIsAborted) {
  Open();
  auto state = Publication();
  Begin(state.get(), 1000, 2, kOwnPool);
  const Engine engine = FilledEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {2, 3};
  control_.HangWork();
  auto transfer = PublishFrom(state.get(), 0, engine, blocks);
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();
  // Another worker's by now: odd again.
  fake_.SetIncarnation(kOwnPool, 3);
  control_.Release();

  EXPECT_THAT(transfer->Wait(), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(transfer->skipped(), ElementsAre(0, 1));
  const Ended ended = TakeEnded();
  EXPECT_THAT(ended.committed, IsEmpty());
  EXPECT_THAT(ended.aborted, ElementsAre(0, 1));
}

// Goal    A publication does not end, however it is ended, while a device may
//         write to its blocks.
TEST_F(PublishTest, EndsWaitForTheDevice) {
  Open();
  auto state = Publication();
  Begin(state.get(), 1000, 1, kOwnPool);
  const Engine engine = FilledEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {2};
  control_.HangWork();
  auto transfer = PublishFrom(state.get(), 0, engine, blocks);
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();

  EXPECT_THAT(state->Close(absl::Now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  Ended ended = TakeEnded();
  EXPECT_THAT(ended.aborted, IsEmpty());
  std::future<void> destroyed =
      std::async(std::launch::async, [&state] { state.reset(); });
  control_.Release();
  destroyed.get();
  ASSERT_TRUE(transfer->done());
}

// Goal    Of a position that goes in several transfers none of which may be
//         missing, the failure of one spoils it, and it is aborted only after
//         the other has left the device.
// Method  Slice 0 hangs; slice 1 cannot be queued.
TEST_F(PublishTest, AFailureWaitsForThoseWhoStillWrite) {
  Open();
  auto state = Publication();
  Begin(state.get(), 1000, 1, kOwnPool);
  const Engine left = FilledEngine(EngineOrder::kNhd, 0, 1);
  const Engine right = FilledEngine(EngineOrder::kNhd, 1, 1);
  const std::vector<uint64_t> blocks = {2};
  GpuPublishOptions uncommitted;
  uncommitted.commit = false;
  control_.HangWork();
  auto first = PublishFrom(state.get(), 0, left, blocks, uncommitted);
  ASSERT_THAT(first, IsOk());
  control_.WaitUntilHung();
  // Is the stream captured, the layout, two events, the engine's point, the
  // stream's wait, and then the copies.
  device_->FailCall(7, /*after_doing_it=*/false);
  auto second = PublishFrom(state.get(), 0, right, blocks);
  ASSERT_THAT(second, IsOk());
  ASSERT_TRUE(device_->failed());
  EXPECT_THAT(second->Wait(absl::Now() + absl::Milliseconds(5)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(TakeEnded().aborted, IsEmpty());
  control_.Release();

  EXPECT_THAT(first->Wait(), IsOk());
  EXPECT_THAT(second->Wait(), StatusIs(absl::StatusCode::kResourceExhausted));
  Ended ended = TakeEnded();
  EXPECT_THAT(ended.aborted, ElementsAre(0));
  EXPECT_THAT(ended.committed, IsEmpty());
  // It is not written again.
  auto third = PublishFrom(state.get(), 0, right, blocks);
  ASSERT_THAT(third, IsOk());
  EXPECT_THAT(third->Wait(), IsOk());
  EXPECT_THAT(third->skipped(), ElementsAre(0));
  EXPECT_THAT(TakeEnded().committed, IsEmpty());
}

// Goal    A device that breaks ends every publication's transfers in aborts.
TEST_F(PublishTest, BrokenDeviceAborts) {
  Open();
  auto state = Publication();
  Begin(state.get(), 1000, 2, kOwnPool);
  const Engine engine = FilledEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {2, 3};
  control_.FailWork();

  auto transfer = PublishFrom(state.get(), 0, engine, blocks);

  ASSERT_THAT(transfer, IsOk());
  EXPECT_THAT(transfer->Wait(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(TakeEnded().aborted, ElementsAre(0, 1));
}

// Goal    Whichever call of the device fails: the call is refused, or the
//         transfer ends with what it says: committed and right, or aborted. The
//         next works.
// Method  The k-th call fails, for every k until none is reached.
TEST_F(PublishTest, EveryCallMayFail) {
  const std::vector<uint64_t> blocks = {0, 1, 2, 3, 4, 5};
  ForEachFailingCall(100, [&](const auto& arm, const auto& disarm) {
    auto state = Publication(BlockResidence::kHost);
    next_block_ = 0;
    Begin(state.get(), 1000, 6, 0);
    const Engine engine = FilledEngine(EngineOrder::kHnd);
    arm();

    auto transfer = PublishFrom(state.get(), 0, engine, blocks);
    const bool ended = !transfer.ok() || transfer->Wait().ok();
    const bool reached = disarm();

    if (!ended) {
      EXPECT_TRUE(reached);
      const Ended given_up = TakeEnded();
      EXPECT_THAT(given_up.committed, IsEmpty());
      EXPECT_EQ(given_up.aborted.size(), 6u);
      EXPECT_EQ(transfer->skipped().size(), 6u);
      return;
    }
    if (!transfer.ok()) {
      EXPECT_THAT(TakeEnded().aborted, IsEmpty());
      transfer = PublishFrom(state.get(), 0, engine, blocks);
      ASSERT_THAT(transfer, IsOk());
      ASSERT_THAT(transfer->Wait(), IsOk());
    }
    EXPECT_EQ(TakeEnded().committed.size(), 6u);
    for (uint32_t p = 0; p < 6; ++p) {
      EXPECT_TRUE(Holds(state.get(), p, 0, p));
      EXPECT_TRUE(Holds(state.get(), p, 1, p));
    }
  });
}

}  // namespace
}  // namespace kvferry::sdk
