// Two publishers of the same keys at the same time, in two processes: the
// second one's copy is taken when the first fails, and goes back otherwise.

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

class StreamStandbyTest : public StreamFixture {
 protected:
  static constexpr uint32_t kBlocks = 16;

  void SetUp() override {
    StreamFixture::SetUp();
    reader_ = Join();
    first_ = Peer();
    second_ = Peer();
    ASSERT_THAT(first_->Open(), IsOk());
    ASSERT_THAT(second_->Open(), IsOk());
    ASSERT_THAT(first_->Begin(0, kBlocks), IsOk());
    ASSERT_TRUE(AreComing(reader_.get(), keys_));
    ASSERT_THAT(second_->Begin(0, kBlocks), IsOk());
    ASSERT_TRUE(AllAre(*second_, 0, BlockOutcome::kStandby));
    ASSERT_THAT(reader_->Match(keys_, {}, &stream_), IsOk());
  }
  // Waits until every position from `from` on has the outcome.
  static bool AllAre(StreamPeer& peer, uint32_t from, BlockOutcome outcome) {
    for (uint32_t p = from; p < kBlocks; ++p) {
      if (!Eventually([&] {
            const auto now = peer.Outcome(p);
            return now.ok() && *now == outcome;
          })) {
        return false;
      }
    }
    return true;
  }
  // A stream that was told of the failure begins anew, until the daemon has
  // heard of it, too.
  void MatchAnew() {
    EXPECT_THAT(stream_.WaitChunk(kBlocks, Soon()),
                StatusIs(absl::StatusCode::kAborted));
    ASSERT_TRUE(Eventually([this] {
      return reader_->Match(keys_, {}, &stream_).ok() && stream_.status().ok();
    }));
  }

  const std::vector<BlockKey> keys_ = Keys(0, kBlocks);
  std::unique_ptr<Client> reader_;
  std::unique_ptr<StreamPeer> first_;
  std::unique_ptr<StreamPeer> second_;
  PrefixStream stream_;
};

TEST_F(StreamStandbyTest, IsAdoptedWhileItStillWrites) {
  ASSERT_THAT(first_->Produce(0, 6), IsOk());
  ASSERT_THAT(second_->Produce(0, 8), IsOk());
  ASSERT_THAT(stream_.WaitChunk(6, Soon()), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 6);  // of the first; the second is nowhere

  first_->Kill();
  ASSERT_NO_FATAL_FAILURE(MatchAnew());
  // Two more that the second had written meanwhile, then the rest, live.
  EXPECT_THAT(stream_.WaitChunk(8, Soon()), IsOk());
  EXPECT_EQ(stream_.block_count(), kBlocks);
  EXPECT_EQ(stream_.ok_blocks(), 8);
  ASSERT_THAT(second_->Write(8, 8), IsOk());
  ASSERT_THAT(second_->CommitLayers(8, 8, 3), IsOk());
  ASSERT_THAT(stream_.WaitLayer(kBlocks, 3, Soon()), IsOk());
  EXPECT_TRUE(LayersAreRight(stream_, keys_));
  ASSERT_THAT(second_->CommitAndWait(8, 8), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
  EXPECT_TRUE(AllAre(*second_, 6, BlockOutcome::kCommitted));
  EXPECT_EQ(Hits(reader_.get(), keys_), kBlocks);
  ASSERT_THAT(second_->Close(), IsOk());
  stream_.Release();
  EXPECT_TRUE(MemoryIsBack());
  EXPECT_EQ(Blocks().ready, kBlocks);
}

TEST_F(StreamStandbyTest, IsAdoptedWholeWhenItWasDoneBefore) {
  ASSERT_THAT(first_->Produce(0, 4), IsOk());
  ASSERT_THAT(second_->Write(0, kBlocks), IsOk());
  ASSERT_THAT(second_->CommitAndWait(0, kBlocks), IsOk());
  EXPECT_TRUE(AllAre(*second_, 4, BlockOutcome::kCommitted));
  EXPECT_LE(Hits(reader_.get(), keys_), 4);

  first_->Kill();
  ASSERT_NO_FATAL_FAILURE(MatchAnew());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
  EXPECT_EQ(Hits(reader_.get(), keys_), kBlocks);
  stream_.Release();
  EXPECT_TRUE(MemoryIsBack());
  EXPECT_EQ(Blocks().ready, kBlocks);
}

TEST_F(StreamStandbyTest, IsAdoptedAfterAnAbort) {
  ASSERT_THAT(second_->Write(0, kBlocks), IsOk());
  ASSERT_THAT(second_->CommitAndWait(0, kBlocks), IsOk());
  ASSERT_THAT(first_->Abort(), IsOk());
  ASSERT_NO_FATAL_FAILURE(MatchAnew());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

// Goal    A first that stands still is given up; what it then does to its own
//         blocks is not seen in the second's, which are read by now.
TEST_F(StreamStandbyTest, IsAdoptedAfterAStall) {
  PublicationOptions options;
  options.stall_timeout = absl::Milliseconds(800);
  const std::vector<BlockKey> keys = Keys(100, kBlocks);
  ASSERT_THAT(first_->Open(options), IsOk());
  ASSERT_THAT(second_->Open(), IsOk());
  ASSERT_THAT(first_->Begin(100, kBlocks), IsOk());
  ASSERT_TRUE(AreComing(reader_.get(), keys));
  ASSERT_THAT(second_->Begin(100, kBlocks), IsOk());
  ASSERT_TRUE(AllAre(*second_, 0, BlockOutcome::kStandby));
  ASSERT_THAT(reader_->Match(keys, {}, &stream_), IsOk());

  ASSERT_THAT(first_->Stop(), IsOk());
  EXPECT_THAT(stream_.WaitChunk(1, Soon()),
              StatusIs(absl::StatusCode::kAborted));
  ASSERT_THAT(reader_->Match(keys, {}, &stream_), IsOk());
  ASSERT_THAT(second_->Produce(0, 10), IsOk());
  ASSERT_THAT(stream_.WaitChunk(10, Soon()), IsOk());
  first_->Continue();
  ASSERT_THAT(first_->ScribbleOver(0, kBlocks), IsOk());
  ASSERT_THAT(first_->CommitAndWait(0, kBlocks), IsOk());
  EXPECT_TRUE(AllAre(*first_, 0, BlockOutcome::kVoid));
  EXPECT_EQ(stream_.Confirm(10), 10);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys));
  ASSERT_THAT(second_->Produce(10, kBlocks - 10), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys));
  stream_.Release();
  ASSERT_THAT(first_->Close(), IsOk());
  ASSERT_THAT(second_->Close(), IsOk());
  EXPECT_TRUE(MemoryIsBack());
}

// Goal    A second that was slower has its memory back when it lets go: by a
//         commit that says so, by an abort, or by its end.
TEST_F(StreamStandbyTest, IsSupersededWhenTheFirstSucceeds) {
  ASSERT_THAT(second_->Write(0, kBlocks), IsOk());
  ASSERT_THAT(second_->CommitAndWait(0, 5), IsOk());  // before the first
  for (uint32_t p = 0; p < 5; ++p) {
    EXPECT_THAT(second_->Outcome(p), IsOkAndHolds(BlockOutcome::kCommitted));
  }
  ASSERT_THAT(first_->Write(0, kBlocks), IsOk());
  ASSERT_THAT(first_->CommitAndWait(0, kBlocks), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  // Those that the second has not ended rest: it may be writing them.
  EXPECT_EQ(Blocks().quarantined, kBlocks - 5);
  ASSERT_THAT(second_->ScribbleOver(5, kBlocks - 5), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));

  ASSERT_THAT(second_->CommitAndWait(5, 5), IsOk());
  for (uint32_t p = 5; p < 10; ++p) {
    EXPECT_THAT(second_->Outcome(p), IsOkAndHolds(BlockOutcome::kExists));
  }
  EXPECT_TRUE(Eventually([this] { return Blocks().quarantined == 6; }));
  second_->Kill();
  EXPECT_TRUE(MemoryIsBack());
  EXPECT_EQ(Blocks().ready, kBlocks);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

// Goal    A publisher that has gone, and whose standbys were all that was left
//         of its publication, keeps nobody waiting once they are decided upon.
TEST_F(StreamStandbyTest, APublicationEndsWithItsLastStandby) {
  const auto ticket = second_->Mint(0, kBlocks + 4);
  ASSERT_THAT(ticket, IsOk());
  const auto content = reader_->RedeemTicket(*ticket);
  ASSERT_THAT(content, IsOk());
  StreamOptions options;
  options.publication = content->publication;
  ASSERT_THAT(reader_->Match(content->keys, options, &stream_), IsOk());
  ASSERT_THAT(second_->Write(0, kBlocks), IsOk());
  ASSERT_THAT(second_->CommitAndWait(0, kBlocks), IsOk());
  ASSERT_THAT(second_->Close(), IsOk());
  ASSERT_THAT(first_->Write(0, kBlocks), IsOk());
  ASSERT_THAT(first_->CommitAndWait(0, kBlocks), IsOk());

  // Nobody will begin the keys behind.
  const absl::Time decided = absl::Now();
  EXPECT_THAT(stream_.WaitChunk(kBlocks + 4, Soon()),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_LT(absl::Now() - decided, kReleased);
  EXPECT_EQ(stream_.ok_blocks(), kBlocks);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

TEST_F(StreamStandbyTest, BothFailAndNothingIsLeft) {
  ASSERT_THAT(first_->Produce(0, 2), IsOk());
  ASSERT_THAT(second_->Write(0, 4), IsOk());
  ASSERT_THAT(second_->CommitAndWait(0, 4), IsOk());
  second_->Kill();
  EXPECT_THAT(stream_.WaitChunk(2, Soon()), IsOk());
  EXPECT_THAT(stream_.WaitChunk(3, absl::Now() + absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  first_->Kill();
  EXPECT_THAT(stream_.WaitChunk(kBlocks, Soon()),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(stream_.ok_blocks(), 2);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
  stream_.Release();
  EXPECT_TRUE(MemoryIsBack());
  // What was written whole stays, whoever wrote it.
  EXPECT_EQ(Hits(reader_.get(), keys_), 4);
  EXPECT_EQ(Blocks().ready, 4);
}

TEST_F(StreamStandbyTest, WhoWantsNoneIsToldThatItIsInFlight) {
  auto third = Peer();
  PublicationOptions options;
  options.standby = false;
  ASSERT_THAT(third->Open(options), IsOk());
  ASSERT_THAT(third->Begin(0, kBlocks), IsOk());
  EXPECT_TRUE(AllAre(*third, 0, BlockOutcome::kInFlight));
  ASSERT_THAT(third->CommitAndWait(0, kBlocks), IsOk());
  ASSERT_THAT(third->Close(), IsOk());

  ASSERT_THAT(first_->Write(0, kBlocks), IsOk());
  ASSERT_THAT(first_->CommitAndWait(0, kBlocks), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

TEST_F(StreamStandbyTest, KeysHaveTwoStandbysAtMost) {
  auto third = Peer();
  ASSERT_THAT(third->Open(), IsOk());
  ASSERT_THAT(third->Begin(0, kBlocks), IsOk());
  EXPECT_TRUE(AllAre(*third, 0, BlockOutcome::kStandby));
  auto fourth = Peer();
  ASSERT_THAT(fourth->Open(), IsOk());
  ASSERT_THAT(fourth->Begin(0, kBlocks), IsOk());
  EXPECT_TRUE(AllAre(*fourth, 0, BlockOutcome::kInFlight));

  // The oldest that is left takes over, one after the other.
  first_->Kill();
  second_->Kill();
  ASSERT_THAT(third->Write(0, kBlocks), IsOk());
  ASSERT_THAT(third->CommitAndWait(0, kBlocks), IsOk());
  EXPECT_TRUE(
      Eventually([this] { return Hits(reader_.get(), keys_) == kBlocks; }));
  ASSERT_NO_FATAL_FAILURE(MatchAnew());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

}  // namespace
}  // namespace kvferry::test
