// Publishers that give up, are killed, or stand still while others read.

#include <signal.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

class StreamFailureTest : public StreamFixture {
 protected:
  // A publication of `count` blocks in another process, and a stream of it in
  // this one.
  void Begin(uint32_t count, const PublicationOptions& options = {}) {
    reader_ = Join();
    writer_ = Peer();
    keys_ = Keys(0, count);
    ASSERT_THAT(writer_->Open(options), IsOk());
    ASSERT_THAT(writer_->Begin(0, count), IsOkAndHolds(0));
    ASSERT_TRUE(AreComing(reader_.get(), keys_));
    ASSERT_THAT(reader_->Match(keys_, {}, &stream_), IsOk());
    ASSERT_EQ(stream_.block_count(), count);
  }
  // Exactly the first `ok` blocks are there, for good.
  void ExpectFailedAfter(uint32_t ok) {
    EXPECT_THAT(stream_.WaitChunk(ok + 1, Soon()),
                StatusIs(absl::StatusCode::kAborted));
    EXPECT_TRUE(stream_.done());
    EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kAborted));
    EXPECT_EQ(stream_.ok_blocks(), ok);
    EXPECT_EQ(stream_.Confirm(stream_.key_count()), ok);
    EXPECT_THAT(stream_.WaitChunk(ok, absl::InfinitePast()), IsOk());
    EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
    EXPECT_FALSE(stream_.Poll());
  }

  std::vector<BlockKey> keys_;
  std::unique_ptr<Client> reader_;
  std::unique_ptr<StreamPeer> writer_;
  PrefixStream stream_;
};

TEST_F(StreamFailureTest, AnAbortFailsExactlyWhatIsNotComplete) {
  ASSERT_NO_FATAL_FAILURE(Begin(24));
  ASSERT_THAT(writer_->Produce(0, 10), IsOk());
  ASSERT_THAT(writer_->Write(10, 6), IsOk());
  ASSERT_THAT(writer_->CommitLayers(10, 6, 3), IsOk());
  ASSERT_THAT(stream_.WaitLayer(16, 3, Soon()), IsOk());

  ASSERT_THAT(writer_->Abort(), IsOk());
  ExpectFailedAfter(10);
  // The publication itself goes on, for keys of its choice.
  ASSERT_THAT(writer_->Begin(10, 14), IsOkAndHolds(24));
  ASSERT_THAT(writer_->Produce(24, 14), IsOk());
  ASSERT_THAT(writer_->Close(), IsOk());
  PrefixStream again;
  ASSERT_THAT(reader_->Match(keys_, {}, &again), IsOk());
  EXPECT_THAT(again.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(again, keys_));
  stream_.Release();
  EXPECT_TRUE(MemoryIsBack());
}

// Goal    An abort is about what was begun before it: blocks that are appended
//         after it can be followed to their end.
TEST_F(StreamFailureTest, WhatIsAppendedAfterAnAbortCanBeFollowed) {
  ASSERT_NO_FATAL_FAILURE(Begin(8));
  ASSERT_THAT(writer_->Produce(0, 3), IsOk());
  ASSERT_THAT(writer_->Abort(), IsOk());
  ExpectFailedAfter(3);
  const std::vector<BlockKey> more = Keys(100, 6);
  ASSERT_THAT(writer_->Begin(100, 6), IsOkAndHolds(8));
  ASSERT_TRUE(AreComing(reader_.get(), more));
  PrefixStream stream;
  ASSERT_THAT(reader_->Match(more, {}, &stream), IsOk());
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_THAT(stream.WaitChunk(1, absl::Now() + absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(writer_->Produce(8, 4), IsOk());
  EXPECT_THAT(stream.WaitChunk(4, Soon()), IsOk());
  // And once more.
  ASSERT_THAT(writer_->Abort(), IsOk());
  EXPECT_THAT(stream.WaitChunk(6, Soon()),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(stream.ok_blocks(), 4);
  EXPECT_TRUE(OkBlocksAreRight(stream, more));
}

TEST_F(StreamFailureTest, WhatAPullerCopiedOfAFailedBlockDoesNotCount) {
  ASSERT_NO_FATAL_FAILURE(Begin(8));
  absl::Status pulled;
  std::atomic<uint32_t> layers_of_last{0};
  std::thread puller([&] {
    pulled = stream_.PullTo(
        {},
        [&](uint32_t block, uint32_t, uint32_t layer, uint32_t layers,
            std::span<const std::byte>) {
          if (block == 7) layers_of_last.store(layer + layers);
        },
        Soon());
  });
  ASSERT_THAT(writer_->Produce(0, 3), IsOk());
  ASSERT_THAT(writer_->Write(3, 5), IsOk());
  ASSERT_THAT(writer_->CommitLayers(3, 5, 3), IsOk());
  EXPECT_TRUE(Eventually([&] { return layers_of_last.load() == 3; }));

  writer_->Kill();
  puller.join();
  EXPECT_THAT(pulled, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(stream_.copied_blocks(), 3);
}

// Goal    Whatever a thread waits for, the death of the publisher ends it
//         within a second.
TEST_F(StreamFailureTest, WaitersOnADeadPublisherAreReleasedWithinASecond) {
  ASSERT_NO_FATAL_FAILURE(Begin(16));
  ASSERT_THAT(writer_->Produce(0, 4), IsOk());
  using Wait = std::function<absl::Status(PrefixStream*)>;
  const std::vector<Wait> waits = {
      [](PrefixStream* s) { return s->WaitChunk(16, Soon()); },
      [](PrefixStream* s) { return s->WaitLayer(16, 2, Soon()); },
      [](PrefixStream* s) { return s->WaitCommitted(Soon()); },
      [](PrefixStream* s) {
        while (!s->done()) {
          if (absl::Status status = s->WaitChange(Soon()); !status.ok()) {
            return status;
          }
        }
        return s->status();
      },
      [](PrefixStream* s) {
        const auto ignore = [](uint32_t, uint32_t, uint32_t, uint32_t,
                               std::span<const std::byte>) {};
        return s->PullTo({}, ignore, Soon());
      },
  };
  struct Waiter {
    PrefixStream stream;
    absl::Status status;
    std::atomic<bool> waits{false};
    absl::Time released;
  };
  std::vector<Waiter> waiters(waits.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < waits.size(); ++i) {
    ASSERT_THAT(reader_->Match(keys_, {}, &waiters[i].stream), IsOk());
    threads.emplace_back([&waiter = waiters[i], &wait = waits[i]] {
      EXPECT_THAT(waiter.stream.WaitChunk(4, Soon()), IsOk());
      waiter.waits.store(true);
      waiter.status = wait(&waiter.stream);
      waiter.released = absl::Now();
    });
  }
  for (Waiter& waiter : waiters) {
    ASSERT_TRUE(Eventually([&waiter] { return waiter.waits.load(); }));
  }

  const absl::Time killed = absl::Now();
  writer_->Kill();
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < waiters.size(); ++i) {
    EXPECT_THAT(waiters[i].status, StatusIs(absl::StatusCode::kAborted)) << i;
    EXPECT_LT(waiters[i].released - killed, kReleased) << i;
    EXPECT_EQ(waiters[i].stream.ok_blocks(), 4) << i;
    EXPECT_TRUE(OkBlocksAreRight(waiters[i].stream, keys_)) << i;
    waiters[i].stream.Release();
  }
  ExpectFailedAfter(4);
  stream_.Release();
  EXPECT_TRUE(MemoryIsBack());
  EXPECT_EQ(Hits(reader_.get(), keys_), 4);
}

// Goal    What a reader has been told is whole stays so when its publisher dies
//         before the daemon has heard of the commit.
// Method  The daemon stands still meanwhile, which costs the reader nothing:
//         it is not on the way.
TEST_F(StreamFailureTest, ACommitThatTheDaemonHasNotTakenInCounts) {
  ASSERT_NO_FATAL_FAILURE(Begin(16));
  ASSERT_EQ(::kill(daemon_->pid(), SIGSTOP), 0);
  ASSERT_THAT(writer_->Write(0, 12), IsOk());
  ASSERT_THAT(writer_->Commit(0, 8), IsOk());
  ASSERT_THAT(writer_->CommitLayers(8, 4, 2), IsOk());
  ASSERT_THAT(stream_.WaitLayer(12, 2, Soon()), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 8);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
  EXPECT_TRUE(LayersAreRight(stream_, keys_));

  writer_->Kill();
  ASSERT_EQ(::kill(daemon_->pid(), SIGCONT), 0);
  ExpectFailedAfter(8);
  EXPECT_EQ(Hits(reader_.get(), keys_), 8);
  stream_.Release();
  EXPECT_TRUE(MemoryIsBack());
}

// Goal    A publisher that stands still past its deadline, then goes on, does
//         no harm: its readers are told, its blocks are nobody else's
//         meanwhile, its commits are void, and then its memory comes back.
TEST_F(StreamFailureTest, AStalledPublisherWritesIntoNobodysBlocks) {
  PublicationOptions options;
  options.stall_timeout = absl::Milliseconds(600);
  ASSERT_NO_FATAL_FAILURE(Begin(24, options));
  ASSERT_THAT(writer_->Produce(0, 8), IsOk());
  ASSERT_THAT(writer_->Write(8, 8), IsOk());
  ASSERT_THAT(writer_->CommitLayers(8, 8, 2), IsOk());
  ASSERT_THAT(stream_.WaitLayer(16, 2, Soon()), IsOk());

  ASSERT_THAT(writer_->Stop(), IsOk());
  ExpectFailedAfter(8);
  EXPECT_EQ(Counts().aborted_blocks, 16);
  stream_.Release();
  EXPECT_EQ(Blocks().quarantined, 16);
  // Others use everything that there is, several times over.
  auto other = Join();
  const uint32_t capacity = other->info().block_capacity;
  const uint32_t rounds = 2 * capacity / 1000;
  for (uint32_t round = 0; round < rounds; ++round) {
    ASSERT_THAT(Publish(other.get(), Keys(10'000 + 1000 * round, 1000)),
                IsOkAndHolds(1000));
  }
  EXPECT_EQ(Blocks().quarantined, 16);
  EXPECT_GT(Counts().evicted_blocks, capacity / 2);
  std::vector<PinnedPrefix> pinned(rounds);
  uint32_t held = 0;
  for (uint32_t round = 0; round < rounds; ++round) {
    ASSERT_THAT(other->Match(Keys(10'000 + 1000 * round, 1000), &pinned[round]),
                IsOk());
    held += pinned[round].block_count();
  }
  EXPECT_GT(held, capacity / 2);

  writer_->Continue();
  ASSERT_THAT(writer_->ScribbleOver(8, 16), IsOk());
  for (uint32_t round = 0; round < rounds; ++round) {
    EXPECT_TRUE(
        PagesAreRight(pinned[round], Keys(10'000 + 1000 * round, 1000)));
  }
  // Its own way on: void, and the reason is there to see.
  ASSERT_THAT(writer_->Write(8, 16), IsOk());
  EXPECT_THAT(writer_->CommitAndWait(8, 16), IsOk());
  for (uint32_t p = 8; p < 24; ++p) {
    EXPECT_THAT(writer_->Outcome(p), IsOkAndHolds(BlockOutcome::kVoid)) << p;
  }
  EXPECT_THAT(writer_->Outcome(7), IsOkAndHolds(BlockOutcome::kCommitted));
  EXPECT_LE(Hits(reader_.get(), keys_), 8);
  EXPECT_TRUE(MemoryIsBack());
}

TEST_F(StreamFailureTest, AStalledPublisherThatIsKilledGivesItsMemoryBack) {
  PublicationOptions options;
  options.stall_timeout = absl::Milliseconds(600);
  ASSERT_NO_FATAL_FAILURE(Begin(12, options));
  ASSERT_THAT(writer_->Produce(0, 3), IsOk());
  ASSERT_THAT(writer_->Stop(), IsOk());
  ExpectFailedAfter(3);
  stream_.Release();
  EXPECT_EQ(Blocks().quarantined, 9);
  writer_->Kill();
  EXPECT_TRUE(MemoryIsBack());
}

TEST_F(StreamFailureTest, APauseBeforeTheDeadlineIsHarmless) {
  ASSERT_NO_FATAL_FAILURE(Begin(12));  // 30 s
  ASSERT_THAT(writer_->Produce(0, 3), IsOk());
  ASSERT_THAT(writer_->Stop(), IsOk());
  EXPECT_THAT(stream_.WaitChunk(12, absl::Now() + absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(stream_.ok_blocks(), 3);
  writer_->Continue();
  ASSERT_THAT(writer_->Produce(3, 9), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

// Goal    Progress is what keeps a slow publisher going, whatever its size.
// Method  Layers alone, each well within the deadline, all of them beyond it.
TEST_F(StreamFailureTest, LayersAreProgress) {
  PublicationOptions options;
  options.stall_timeout = absl::Milliseconds(1500);
  ASSERT_NO_FATAL_FAILURE(Begin(4, options));
  const absl::Time start = absl::Now();
  for (uint32_t layers = 1; layers < kLayers; ++layers) {
    EXPECT_THAT(
        stream_.WaitLayer(4, kLayers, start + layers * absl::Milliseconds(700)),
        StatusIs(absl::StatusCode::kDeadlineExceeded));
    ASSERT_THAT(writer_->Write(0, 4, layers - 1, 1), IsOk());
    ASSERT_THAT(writer_->CommitLayers(0, 4, layers), IsOk());
  }
  ASSERT_GT(absl::Now() - start, options.stall_timeout);
  EXPECT_THAT(stream_.status(), IsOk());
  ASSERT_THAT(writer_->Write(0, 4, kLayers - 1, 1), IsOk());
  ASSERT_THAT(writer_->CommitAndWait(0, 4), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

TEST_F(StreamFailureTest, RefusesStallDeadlinesOutOfRange) {
  auto client = Join();
  for (const absl::Duration beyond :
       {absl::Milliseconds(99), absl::Minutes(10) + absl::Milliseconds(1)}) {
    PublicationOptions options;
    options.stall_timeout = beyond;
    EXPECT_THAT(client->OpenPublication(options),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace kvferry::test
