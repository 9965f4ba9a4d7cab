// Blocks whose slices are written by two processes: a reader has a block when
// both are done with it.

#include <algorithm>
#include <utility>

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

class StreamRanksTest : public StreamFixture {
 protected:
  static constexpr uint32_t kBlocks = 20;

  void SetUp() override {
    StreamFixture::SetUp();
    reader_ = Join(LayeredSpec(/*slices=*/2));
    for (uint32_t slice = 0; slice < 2; ++slice) {
      ranks_.push_back(Peer());
      PublicationOptions options;
      options.engine_instance = 11;
      options.publication = 22;
      options.slice_first = slice;
      options.slice_count = 1;
      options.stall_timeout = absl::Milliseconds(stall_ms_);
      ASSERT_THAT(ranks_.back()->Open(options), IsOk());
    }
  }
  // Both ranks begin all blocks and a stream follows.
  void Begin() {
    for (const auto& rank : ranks_) {
      ASSERT_THAT(rank->Begin(0, kBlocks), IsOkAndHolds(0));
    }
    ASSERT_THAT(reader_->Match(keys_, {}, &stream_), IsOk());
    ASSERT_EQ(stream_.block_count(), kBlocks);
  }

  int stall_ms_ = 30'000;
  const std::vector<BlockKey> keys_ = Keys(0, kBlocks);
  std::unique_ptr<Client> reader_;
  std::vector<std::unique_ptr<StreamPeer>> ranks_;
  PrefixStream stream_;
};

class StalledRankTest : public StreamRanksTest {
 protected:
  StalledRankTest() { stall_ms_ = 800; }
};

TEST_F(StreamRanksTest, ABlockIsThereWhenBothRanksAreDone) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  // One is ahead of the other, in turn.
  uint32_t done[2] = {0, 0};
  for (const auto& [rank, end] : std::vector<std::pair<uint32_t, uint32_t>>{
           {0, 8}, {1, 4}, {1, 12}, {0, 10}, {0, 20}, {1, 20}}) {
    ASSERT_THAT(ranks_[rank]->Produce(done[rank], end - done[rank]), IsOk());
    done[rank] = end;
    const uint32_t both = std::min(done[0], done[1]);
    EXPECT_THAT(stream_.WaitChunk(both, Soon()), IsOk());
    EXPECT_EQ(stream_.ok_blocks(), both);
    EXPECT_TRUE(OkBlocksAreRight(stream_, keys_, /*slices=*/2));
  }
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_EQ(Hits(reader_.get(), keys_), kBlocks);
}

TEST_F(StreamRanksTest, LayersAreThoseThatBothHaveWritten) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  ASSERT_THAT(ranks_[0]->Write(0, 6, 0, 3), IsOk());
  ASSERT_THAT(ranks_[0]->CommitLayers(0, 6, 3), IsOk());
  EXPECT_THAT(stream_.WaitLayer(1, 1, absl::Now() + absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(stream_.layered_end() == 0 || stream_.ok_layers() == 0);
  ASSERT_THAT(ranks_[1]->Write(0, 6, 0, 2), IsOk());
  ASSERT_THAT(ranks_[1]->CommitLayers(0, 6, 2), IsOk());
  ASSERT_THAT(stream_.WaitLayer(6, 2, Soon()), IsOk());
  EXPECT_EQ(stream_.ok_layers(), 2);
  EXPECT_EQ(stream_.layered_end(), 6);
  for (uint32_t slice = 0; slice < 2; ++slice) {
    EXPECT_TRUE(IsPayload(keys_[5], slice, 0,
                          stream_.page(5, slice).first(2 * kLayerBytes)));
  }
  // One has the whole chunk: the other's layers are what counts.
  ASSERT_THAT(ranks_[0]->Write(0, 6, 3, 1), IsOk());
  ASSERT_THAT(ranks_[0]->Commit(0, 6), IsOk());
  ASSERT_THAT(ranks_[1]->Write(0, 6, 2, 1), IsOk());
  ASSERT_THAT(ranks_[1]->CommitLayers(0, 6, 3), IsOk());
  ASSERT_THAT(stream_.WaitLayer(6, 3, Soon()), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 0);
  ASSERT_THAT(ranks_[1]->Produce(0, 6), IsOk());
  EXPECT_THAT(stream_.WaitChunk(6, Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_, /*slices=*/2));
}

// Goal    A rank that comes late finds its blocks, and readers that were there
//         before it wait for it.
TEST_F(StreamRanksTest, ARankMayComeLate) {
  ASSERT_THAT(ranks_[0]->Begin(0, kBlocks), IsOkAndHolds(0));
  ASSERT_THAT(ranks_[0]->Produce(0, kBlocks), IsOk());
  ASSERT_TRUE(AreComing(reader_.get(), keys_));
  ASSERT_THAT(reader_->Match(keys_, {}, &stream_), IsOk());
  EXPECT_THAT(stream_.WaitChunk(1, absl::Now() + absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(ranks_[0]->Close(), IsOk());
  ASSERT_THAT(ranks_[1]->Begin(0, kBlocks), IsOkAndHolds(0));
  ASSERT_THAT(ranks_[1]->Write(0, kBlocks), IsOk());
  for (uint32_t p = 0; p < kBlocks; p += 5) {
    ASSERT_THAT(ranks_[1]->Commit(p, 5), IsOk());
    EXPECT_THAT(stream_.WaitChunk(p + 5, Soon()), IsOk());
  }
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_, /*slices=*/2));
}

TEST_F(StreamRanksTest, OneRankKilledFailsWhatItHadNotWritten) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  ASSERT_THAT(ranks_[0]->Produce(0, 12), IsOk());
  ASSERT_THAT(ranks_[1]->Produce(0, 7), IsOk());
  ASSERT_THAT(stream_.WaitChunk(7, Soon()), IsOk());

  const absl::Time killed = absl::Now();
  ranks_[1]->Kill();
  EXPECT_THAT(stream_.WaitChunk(kBlocks, Soon()),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_LT(absl::Now() - killed, kReleased);
  EXPECT_EQ(stream_.ok_blocks(), 7);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_, /*slices=*/2));
  stream_.Release();
  // The other rank still holds what it has begun and not ended.
  EXPECT_TRUE(
      Eventually([this] { return Blocks().quarantined == kBlocks - 12; }));
  ASSERT_THAT(ranks_[0]->CommitAndWait(12, 8), IsOk());
  EXPECT_THAT(ranks_[0]->Outcome(12), IsOkAndHolds(BlockOutcome::kVoid));
  EXPECT_TRUE(MemoryIsBack());
  EXPECT_EQ(Hits(reader_.get(), keys_), 7);
}

TEST_F(StreamRanksTest, WhatADeadRankHadWrittenIsCompletedByTheOther) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  ASSERT_THAT(ranks_[1]->Write(0, 9), IsOk());
  ASSERT_THAT(ranks_[1]->CommitAndWait(0, 9), IsOk());
  ASSERT_THAT(ranks_[0]->Produce(0, 2), IsOk());
  ASSERT_THAT(stream_.WaitChunk(2, Soon()), IsOk());
  ranks_[1]->Kill();
  // The dead rank's half of the first nine is there, as its commits say.
  ASSERT_THAT(ranks_[0]->Write(2, 7), IsOk());
  ASSERT_THAT(ranks_[0]->CommitAndWait(2, 7), IsOk());
  EXPECT_THAT(stream_.WaitChunk(kBlocks, Soon()),
              StatusIs(absl::StatusCode::kAborted));
  PrefixStream again;
  ASSERT_THAT(reader_->Match(keys_, {}, &again), IsOk());
  EXPECT_EQ(again.ok_blocks(), 9);
  EXPECT_TRUE(OkBlocksAreRight(again, keys_, /*slices=*/2));
}

// Goal    A rank that died before it came to a block never will: readers of
// what
//         the others go on with are told, and do not wait for the others' end.
TEST_F(StreamRanksTest, ARankKilledBeforeItBeganFailsWhatTheOthersBegin) {
  ASSERT_THAT(ranks_[0]->Begin(0, 10), IsOkAndHolds(0));
  ASSERT_THAT(ranks_[1]->Begin(0, 6), IsOkAndHolds(0));
  ASSERT_THAT(ranks_[0]->Produce(0, 10), IsOk());
  ASSERT_THAT(ranks_[1]->Produce(0, 6), IsOk());
  const std::vector<BlockKey> begun = Keys(0, 10);
  ASSERT_TRUE(AreComing(reader_.get(), begun));
  ASSERT_THAT(reader_->Match(begun, {}, &stream_), IsOk());
  ASSERT_THAT(stream_.WaitChunk(6, Soon()), IsOk());

  const absl::Time killed = absl::Now();
  ranks_[1]->Kill();
  EXPECT_THAT(stream_.WaitChunk(10, absl::Now() + absl::Seconds(5)),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_LT(absl::Now() - killed, kReleased);
  EXPECT_EQ(stream_.ok_blocks(), 6);
  // Nor does anybody wait for what the other begins now.
  ASSERT_THAT(ranks_[0]->Begin(10, 4), IsOkAndHolds(10));
  EXPECT_THAT(ranks_[0]->Outcome(10), IsOkAndHolds(BlockOutcome::kVoid));
  ASSERT_THAT(reader_->Match(keys_, {}, &stream_), IsOk());
  EXPECT_THAT(stream_.WaitChunk(7, absl::Now() + absl::Seconds(5)),
              testing::AnyOf(StatusIs(absl::StatusCode::kAborted),
                             StatusIs(absl::StatusCode::kNotFound)));
  EXPECT_EQ(stream_.ok_blocks(), 6);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_, /*slices=*/2));
  stream_.Release();
  EXPECT_TRUE(MemoryIsBack());
}

TEST_F(StalledRankTest, OneRankThatStandsStillFailsWhatItHadNotWritten) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  ASSERT_THAT(ranks_[0]->Produce(0, kBlocks), IsOk());
  ASSERT_THAT(ranks_[1]->Produce(0, 3), IsOk());
  ASSERT_THAT(stream_.WaitChunk(3, Soon()), IsOk());
  ASSERT_THAT(ranks_[1]->Stop(), IsOk());
  EXPECT_THAT(stream_.WaitChunk(kBlocks, Soon()),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(stream_.ok_blocks(), 3);
  stream_.Release();
  EXPECT_EQ(Blocks().quarantined, kBlocks - 3);
  ranks_[1]->Continue();
  ASSERT_THAT(ranks_[1]->ScribbleOver(3, kBlocks - 3), IsOk());
  ASSERT_THAT(ranks_[1]->CommitAndWait(3, kBlocks - 3), IsOk());
  EXPECT_THAT(ranks_[1]->Outcome(3), IsOkAndHolds(BlockOutcome::kVoid));
  EXPECT_TRUE(MemoryIsBack());
  EXPECT_EQ(Hits(reader_.get(), keys_), 3);
}

}  // namespace
}  // namespace kvferry::test
