// Streams whose daemon is killed, clears the namespace, or revokes a session.

#include <poll.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

class StreamDaemonTest : public StreamFixture {
 protected:
  static constexpr uint32_t kBlocks = 16;

  void SetUp() override {
    StreamFixture::SetUp();
    reader_ = Join();
    writer_ = Peer();
    ASSERT_THAT(writer_->Open(), IsOk());
    ASSERT_THAT(writer_->Begin(0, kBlocks), IsOk());
    ASSERT_TRUE(AreComing(reader_.get(), keys_));
    ASSERT_THAT(reader_->Match(keys_, {}, &stream_), IsOk());
    ASSERT_THAT(writer_->Produce(0, 5), IsOk());
    ASSERT_THAT(writer_->Write(5, 3), IsOk());
    ASSERT_THAT(writer_->CommitLayers(5, 3, 2), IsOk());
    ASSERT_THAT(stream_.WaitLayer(8, 2, Soon()), IsOk());
  }
  // Waits in another thread, does `end`, and expects the waiter back with one
  // of these codes within a second.
  void ExpectReleased(const std::function<void()>& end,
                      const std::vector<absl::StatusCode>& codes) {
    absl::Status status;
    absl::Time released;
    std::atomic<bool> waits{false};
    std::thread waiter([&] {
      waits.store(true);
      status = stream_.WaitCommitted(Soon());
      released = absl::Now();
    });
    EXPECT_TRUE(Eventually([&waits] { return waits.load(); }));
    end();
    const absl::Time ended = absl::Now();
    waiter.join();
    EXPECT_LT(released - ended, kReleased);
    EXPECT_THAT(codes, testing::Contains(status.code())) << status;
    EXPECT_TRUE(stream_.done());
    EXPECT_EQ(stream_.status().code(), status.code());
  }
  void ExpectOkBlocks(uint32_t blocks) {
    EXPECT_EQ(stream_.ok_blocks(), blocks);
    EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
    EXPECT_FALSE(stream_.Poll());
  }

  const std::vector<BlockKey> keys_ = Keys(0, kBlocks);
  std::unique_ptr<Client> reader_;
  std::unique_ptr<StreamPeer> writer_;
  PrefixStream stream_;
};

TEST_F(StreamDaemonTest, OutlivesTheDaemon) {
  ExpectReleased([this] { daemon_->Kill(); },
                 {absl::StatusCode::kUnavailable, absl::StatusCode::kAborted});
  ExpectOkBlocks(5);
  EXPECT_EQ(stream_.Confirm(kBlocks), 5);
  // The publisher learns of it when it commits.
  ASSERT_TRUE(Eventually([this] { return !writer_->Commit(5, 3).ok(); }));
  EXPECT_THAT(writer_->Outcome(5), IsOkAndHolds(BlockOutcome::kVoid));
  EXPECT_THAT(writer_->CommitLayers(5, 3, 3),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(writer_->SetHandOver("late"),
              StatusIs(absl::StatusCode::kUnavailable));
  // A stream that begins now finds the frozen index and nobody behind it.
  PrefixStream frozen;
  ASSERT_THAT(reader_->Match(keys_, {}, &frozen), IsOk());
  EXPECT_THAT(frozen.WaitChunk(kBlocks, Soon()),
              testing::Not(StatusIs(absl::StatusCode::kDeadlineExceeded)));
  EXPECT_TRUE(frozen.done());
  EXPECT_TRUE(OkBlocksAreRight(frozen, keys_));

  // Its successor begins anew, and so do they; what is still pinned stays.
  ASSERT_THAT(daemon_->Restart(), IsOk());
  ASSERT_TRUE(Eventually([this] { return reader_->connected(); }));
  // Its memory may still be in the making: the first tries may find none.
  ASSERT_TRUE(Eventually([this] {
    if (!writer_->Open().ok() || !writer_->Begin(0, kBlocks).ok()) return false;
    return Eventually(
        [this] {
          const auto found = reader_->Lookup(keys_);
          return found.ok() && found->coming_tokens == kBlocks * kTokens;
        },
        absl::Milliseconds(200));
  }));
  PrefixStream anew;
  ASSERT_THAT(reader_->Match(keys_, {}, &anew), IsOk());
  ASSERT_THAT(writer_->Produce(0, kBlocks), IsOk());
  EXPECT_THAT(anew.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(anew, keys_));
  ExpectOkBlocks(5);
}

TEST_F(StreamDaemonTest, AnOrderlyEndIsAnEnd) {
  ExpectReleased([this] { EXPECT_EQ(daemon_->Stop(), 0); },
                 {absl::StatusCode::kUnavailable, absl::StatusCode::kAborted});
  ExpectOkBlocks(5);
}

TEST_F(StreamDaemonTest, EventDescriptorsTellOfALostDaemon) {
  const auto fd = stream_.event_fd();
  ASSERT_THAT(fd, IsOk());
  daemon_->Kill();
  const absl::Time deadline = Soon();
  while (!stream_.done() && absl::Now() < deadline) {
    pollfd poll_fd{*fd, POLLIN, 0};
    ASSERT_EQ(::poll(&poll_fd, 1, 10'000), 1);
    stream_.Poll();
  }
  EXPECT_TRUE(stream_.done());
  ExpectOkBlocks(5);
}

TEST_F(StreamDaemonTest, ClearFailsWhatIsNotComplete) {
  auto admin = Admin();
  ExpectReleased([&] { ASSERT_THAT(admin->Clear("model"), IsOk()); },
                 {absl::StatusCode::kAborted});
  EXPECT_LE(stream_.ok_blocks(), 5);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
  EXPECT_EQ(Hits(reader_.get(), keys_), 0);
  ASSERT_THAT(writer_->Write(5, 3), IsOk());
  ASSERT_THAT(writer_->CommitAndWait(5, 3), IsOk());
  EXPECT_THAT(writer_->Outcome(5), IsOkAndHolds(BlockOutcome::kVoid));
  // Pinned blocks keep their bytes; then all memory is back.
  auto other = Join();
  const uint32_t capacity = other->info().block_capacity;
  for (uint64_t first = 10'000; first < 10'000 + capacity; first += 1000) {
    ASSERT_THAT(Publish(other.get(), Keys(first, 1000)), IsOk());
  }
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
  stream_.Release();
  ASSERT_THAT(writer_->Close(), IsOk());
  EXPECT_TRUE(MemoryIsBack());

  ASSERT_THAT(writer_->Open(), IsOk());
  ASSERT_THAT(writer_->Begin(0, kBlocks), IsOk());
  ASSERT_TRUE(AreComing(reader_.get(), keys_));
  ASSERT_THAT(reader_->Match(keys_, {}, &stream_), IsOk());
  ASSERT_THAT(writer_->Produce(0, kBlocks), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

// Goal    A publisher that breaks the protocol is revoked; what it had not
//         completed fails, and rests while its process lives.
TEST_F(StreamDaemonTest, ARevokedPublisherEndsItsStreams) {
  ASSERT_THAT(writer_->BreakRing(), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_LE(stream_.ok_blocks(), 5);
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
  stream_.Release();
  EXPECT_GE(Blocks().quarantined, kBlocks - 5);
  writer_->Kill();
  EXPECT_TRUE(MemoryIsBack());
}

// Goal    A reader whose session was revoked reads on in vain: its pins are
//         void, so nothing that it looks at after that counts.
TEST_F(StreamDaemonTest, ARevokedReaderIsToldThatNothingCounts) {
  auto reader = Peer();
  ASSERT_THAT(reader->Match(0, kBlocks), IsOkAndHolds(kBlocks));
  ASSERT_THAT(reader->WaitChunk(5), IsOkAndHolds(5));
  ASSERT_THAT(reader->BreakRing(), IsOk());
  EXPECT_THAT(reader->WaitChunk(kBlocks), StatusIs(absl::StatusCode::kAborted));
  // Nobody else notices.
  ASSERT_THAT(writer_->Produce(5, kBlocks - 5), IsOk());
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream_, keys_));
}

}  // namespace
}  // namespace kvferry::test
