// Pulls and the engine's own work on its stream: what waits for what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/gpu/pull_fixture.h"

namespace kvferry::sdk {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::Each;

// Goal    A copy does not begin before what the engine's stream was given
//         earlier is done (a recycled block is still being read, or zeroed).
// Method  The engine reads its blocks in work that hangs; the pull is asked
//         for; the work goes on. It must have read what was there before.
TEST_F(PullTest, WaitsForEarlierWorkOfTheEngine) {
  for (const bool registers : {true, false}) {
    SCOPED_TRACE(registers ? "registered" : "staged");
    gpu_.reset();
    Open(registers);
    const uint64_t first = registers ? 0 : 10;
    for (uint64_t n = 0; n < 3; ++n) {
      PutKey(first + n, static_cast<uint32_t>(n));
    }
    Engine engine = MakeEngine(EngineOrder::kNhd);
    std::fill(engine.bytes.begin(), engine.bytes.end(), kUntouched);
    std::vector<std::byte> before;
    control_.HangWork();
    CopyOfEngine(engine, &before);
    control_.WaitUntilHung();
    const std::vector<uint64_t> blocks = {0, 1, 2};
    PinnedPrefix prefix = Match(first, 3);

    auto transfer = PullTo(&prefix, Pull(engine, blocks));

    ASSERT_THAT(transfer, IsOk());
    // All of it is with the device, the staged page, too.
    ASSERT_THAT(transfer->OrderAfter({stream()}), IsOk());
    EXPECT_FALSE(transfer->done());
    EXPECT_THAT(transfer->status(), StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_THAT(transfer->Wait(absl::Now()),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
    for (const uint64_t block : blocks) {
      EXPECT_THAT(engine.Page(block, 0), Each(kUntouched)) << block;
    }
    control_.Release();
    ASSERT_THAT(transfer->Wait(), IsOk());
    EXPECT_THAT(before, Each(kUntouched));
    for (uint64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(HasKey(engine, i, first + i)) << i;
    }
  }
}

// Goal    OrderAfter holds the engine's stream, not the processor, until the
//         bytes are there, over all streams that the copies are spread over.
// Method  The first of three copies hangs; what the engine's stream is given
//         after OrderAfter reads its blocks.
TEST_F(PullTest, OrderAfterHoldsTheEngineUntilTheBytesAreThere) {
  for (uint64_t hung = 1; hung <= 3; ++hung) {
    gpu_.reset();
    Open();
    PutKey(hung * 10, kOwnPool);
    PutKey(hung * 10 + 1, kPeerPool);
    PutKey(hung * 10 + 2, 0);
    Engine engine = MakeEngine(EngineOrder::kNhd);
    const std::vector<uint64_t> blocks = {0, 1, 2};
    PinnedPrefix prefix = Match(hung * 10, 3);
    control_.HangWork(hung);
    auto transfer = PullTo(&prefix, Pull(engine, blocks));
    ASSERT_THAT(transfer, IsOk());
    control_.WaitUntilHung();

    ASSERT_THAT(transfer->OrderAfter({stream()}), IsOk());

    std::vector<std::byte> after;
    CopyOfEngine(engine, &after);
    EXPECT_FALSE(transfer->done());
    control_.Release();
    FinishEngine();
    ASSERT_THAT(transfer->Wait(), IsOk());
    EXPECT_EQ(after, engine.bytes);
    for (uint64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(HasKey(engine, i, hung * 10 + i));
    }
    EXPECT_THAT(transfer->OrderAfter({stream()}), IsOk()) << "when done";
  }
}

// Goal    The engine goes on with the first layers while later ones are still
//         under way.
// Method  The third of four pieces hangs; the engine's stream, after the first
//         two layers, reads them and comes to its end.
TEST_F(PullTest, LayersAreOrderedPieceByPiece) {
  Open();
  PutKey(0, kOwnPool);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {5};
  PinnedPrefix prefix = Match(0, 1);
  control_.HangWork(3);
  auto transfer = PullTo(&prefix, Pull(engine, blocks), /*layers_a_piece=*/1);
  ASSERT_THAT(transfer, IsOk());
  EXPECT_EQ(transfer->launched_layers(), 4u);

  ASSERT_THAT(transfer->OrderAfter({stream()}, /*layers=*/2), IsOk());
  FinishEngine();

  EXPECT_FALSE(transfer->done());
  const uint64_t half = Group(0).page_bytes() / 2;
  const std::vector<std::byte> page = engine.Page(5, 0);
  const std::vector<std::byte> pattern = Pattern(0, Group(0).page_bytes());
  EXPECT_TRUE(std::equal(page.begin(), page.begin() + half, pattern.begin()));
  control_.Release();
  ASSERT_THAT(transfer->Wait(), IsOk());
  EXPECT_TRUE(HasKey(engine, 5, 0));
}

// Goal    ... and not before the last of those that it asks for.
// Method  The second piece hangs; what the engine's stream is given after the
//         first two layers reads them.
TEST_F(PullTest, LayersAreOrderedUpToTheLastAskedFor) {
  Open();
  PutKey(0, kOwnPool);
  Engine engine = MakeEngine(EngineOrder::kNhd);
  const std::vector<uint64_t> blocks = {5};
  PinnedPrefix prefix = Match(0, 1);
  control_.HangWork(2);
  auto transfer = PullTo(&prefix, Pull(engine, blocks), /*layers_a_piece=*/1);
  ASSERT_THAT(transfer, IsOk());
  control_.WaitUntilHung();

  ASSERT_THAT(transfer->OrderAfter({stream()}, /*layers=*/2), IsOk());

  std::vector<std::byte> after;
  CopyOfEngine(engine, &after);
  control_.Release();
  FinishEngine();
  ASSERT_THAT(transfer->Wait(), IsOk());
  // What was read then, where the description says.
  std::copy(after.begin(), after.end(), engine.bytes.begin());
  const uint64_t half = Group(0).page_bytes() / 2;
  const std::vector<std::byte> page = engine.Page(5, 1);
  const std::vector<std::byte> pattern = Pattern(1, Group(0).page_bytes());
  EXPECT_TRUE(std::equal(page.begin(), page.begin() + half, pattern.begin()));
}

// Goal    Pins stand until the last byte has landed, wherever it comes from.
TEST_F(PullTest, PinsStandUntilTheCopyIsDone) {
  for (const bool registers : {true, false}) {
    gpu_.reset();
    Open(registers);
    const uint64_t n = registers ? 0 : 1;
    const uint32_t block = PutKey(n, 0);
    Engine engine = MakeEngine(EngineOrder::kNhd);
    const std::vector<uint64_t> blocks = {5};
    PinnedPrefix prefix = Match(n, 1);
    control_.HangWork();
    auto transfer = PullTo(&prefix, Pull(engine, blocks));
    ASSERT_THAT(transfer, IsOk());
    control_.WaitUntilHung();

    EXPECT_EQ(fake_.pins(block), 1);
    control_.Release();
    ASSERT_THAT(transfer->Wait(), IsOk());
    EXPECT_EQ(fake_.pins(block), 0);
  }
}

}  // namespace
}  // namespace kvferry::sdk
