// Several readers of one publication: late, slow, dead, and never done.

#include <algorithm>
#include <thread>

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

using StreamReadersTest = StreamFixture;

TEST_F(StreamReadersTest, AReaderMayJoinAtAnyPoint) {
  constexpr uint32_t kBlocks = 24;
  auto client = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, kBlocks);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, kBlocks), IsOk());
  ASSERT_TRUE(AreComing(client.get(), keys));
  std::vector<PrefixStream> streams(2 * kBlocks / 4 + 1);
  size_t next = 0;
  for (uint32_t p = 0; p < kBlocks; p += 4) {
    ASSERT_THAT(client->Match(keys, {}, &streams[next]), IsOk());
    EXPECT_GE(streams[next].ok_blocks(), p);
    ++next;
    ASSERT_THAT(writer->Write(p, 4), IsOk());
    ASSERT_THAT(writer->CommitLayers(p, 4, 2), IsOk());
    PrefixStream& amid = streams[next++];
    ASSERT_THAT(client->Match(keys, {}, &amid), IsOk());
    EXPECT_GE(amid.ok_blocks(), p);
    EXPECT_EQ(amid.layered_end(), p + 4);
    EXPECT_EQ(amid.ok_layers(), 2);
    ASSERT_THAT(writer->Commit(p, 4), IsOk());
  }
  ASSERT_THAT(writer->Close(), IsOk());
  ASSERT_THAT(client->Match(keys, {}, &streams[next]), IsOk());
  EXPECT_EQ(streams[next].ok_blocks(), kBlocks);

  for (PrefixStream& stream : streams) {
    EXPECT_THAT(stream.WaitCommitted(Soon()), IsOk());
    EXPECT_EQ(stream.ok_blocks(), kBlocks);
    EXPECT_TRUE(OkBlocksAreRight(stream, keys));
  }
}

TEST_F(StreamReadersTest, ReadersOfSeveralProcessesSeeTheSame) {
  constexpr uint32_t kBlocks = 30;
  auto client = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, kBlocks);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, kBlocks), IsOk());
  ASSERT_TRUE(AreComing(client.get(), keys));
  std::vector<std::unique_ptr<StreamPeer>> peers;
  for (int i = 0; i < 2; ++i) {
    peers.push_back(Peer());
    ASSERT_THAT(peers.back()->Match(0, kBlocks), IsOkAndHolds(kBlocks));
  }
  std::vector<PrefixStream> streams(2);
  std::vector<absl::Status> waited(streams.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < streams.size(); ++i) {
    ASSERT_THAT(client->Match(keys, {}, &streams[i]), IsOk());
    threads.emplace_back([&stream = streams[i], &status = waited[i]] {
      for (uint32_t blocks = 1; blocks <= kBlocks; ++blocks) {
        status.Update(stream.WaitChunk(blocks, Soon()));
      }
    });
  }
  for (uint32_t p = 0; p < kBlocks; p += 3) {
    ASSERT_THAT(writer->Produce(p, 3), IsOk());
    for (const auto& peer : peers) {
      const auto seen = peer->WaitChunk(p + 3);
      ASSERT_THAT(seen, IsOk());
      EXPECT_GE(*seen, p + 3);
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_THAT(waited[i], IsOk());
    EXPECT_TRUE(OkBlocksAreRight(streams[i], keys));
  }
}

// Goal    A reader that is killed while it waits takes its pins along and
//         nothing else.
TEST_F(StreamReadersTest, AReaderThatDiesDisturbsNobody) {
  auto client = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 20);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 20), IsOk());
  ASSERT_TRUE(AreComing(client.get(), keys));
  ASSERT_THAT(writer->Produce(0, 5), IsOk());
  auto victim = Peer();
  ASSERT_THAT(victim->Match(0, 20), IsOkAndHolds(20));
  ASSERT_THAT(victim->StartWaitChunk(20), IsOk());
  PrefixStream stream;
  ASSERT_THAT(client->Match(keys, {}, &stream), IsOk());
  const auto pinned_by = [this](pid_t pid) {
    const auto sessions = Admin()->Sessions();
    if (!sessions.ok()) return ~0u;
    for (const SessionInfo& session : *sessions) {
      if (session.pid == static_cast<uint32_t>(pid)) {
        return session.pinned_blocks;
      }
    }
    return 0u;
  };
  EXPECT_EQ(pinned_by(victim->pid()), 20);
  const pid_t pid = victim->pid();

  victim->Kill();
  EXPECT_TRUE(Eventually([&] { return pinned_by(pid) == 0; }));
  ASSERT_THAT(writer->Produce(5, 15), IsOk());
  EXPECT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));

  ASSERT_THAT(writer->Close(), IsOk());
  stream.Release();
  const auto evicted = Admin()->Evict("model", "", 100);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 20);
}

// Goal    What a reader has pinned when the publisher gives it up rests, with
//         the bytes it had, until that reader lets go, also when it never does
//         but dies.
TEST_F(StreamReadersTest, AnAbortedBlockRestsWhileItIsPinned) {
  auto client = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 12);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 12), IsOk());
  ASSERT_TRUE(AreComing(client.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(client->Match(keys, {}, &stream), IsOk());
  ASSERT_EQ(stream.block_count(), 12);
  std::vector<std::span<const std::byte>> pages;
  for (uint32_t b = 0; b < 12; ++b) pages.push_back(stream.page(b));
  auto never_done = Peer();
  ASSERT_THAT(never_done->Match(0, 12), IsOkAndHolds(12));
  ASSERT_THAT(writer->Produce(0, 4), IsOk());
  ASSERT_THAT(stream.WaitChunk(4, Soon()), IsOk());
  ASSERT_THAT(writer->Write(4, 8), IsOk());
  ASSERT_THAT(writer->Abort(), IsOk());
  ASSERT_THAT(writer->Close(), IsOk());
  EXPECT_THAT(stream.WaitChunk(12, Soon()),
              StatusIs(absl::StatusCode::kAborted));

  EXPECT_EQ(Blocks().quarantined, 8);
  // Whatever others publish, and that is more than there is room for, these
  // blocks are not given to them.
  auto other = Join();
  const uint32_t capacity = other->info().block_capacity;
  for (uint64_t first = 10'000; first < 10'000 + capacity; first += 1000) {
    ASSERT_THAT(Publish(other.get(), Keys(first, 1000)), IsOk());
  }
  EXPECT_EQ(Blocks().quarantined, 8);
  for (uint32_t b = 4; b < 12; ++b) {
    EXPECT_TRUE(IsPayload(keys[b], 0, 0, pages[b]));
  }
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));
  EXPECT_EQ(stream.Confirm(12), 4);

  stream.Release();
  EXPECT_EQ(Blocks().quarantined, 8);
  never_done->Kill();
  EXPECT_TRUE(MemoryIsBack());
}

}  // namespace
}  // namespace kvferry::test
