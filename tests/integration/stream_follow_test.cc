// Reading blocks while another process writes them: chunk by chunk, layer by
// layer, copying and in place.

#include <sys/epoll.h>

#include <algorithm>
#include <thread>

#include "base/unique_fd.h"
#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

using StreamFollowTest = StreamFixture;

TEST_F(StreamFollowTest, ChunkByChunk) {
  auto reader = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 32);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 32), IsOkAndHolds(0));
  ASSERT_TRUE(AreComing(reader.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());
  EXPECT_EQ(stream.key_count(), 32);
  EXPECT_EQ(stream.block_count(), 32);
  EXPECT_EQ(stream.ok_blocks(), 0);
  EXPECT_FALSE(stream.done());

  for (uint32_t first = 0; first < 32; first += 8) {
    ASSERT_THAT(writer->Write(first, 8), IsOk());
    stream.Poll();
    EXPECT_EQ(stream.ok_blocks(), first);  // written, but not said to be

    ASSERT_THAT(writer->Commit(first, 8), IsOk());
    ASSERT_THAT(stream.WaitChunk(first + 8, Soon()), IsOk());
    EXPECT_EQ(stream.ok_blocks(), first + 8);
    EXPECT_EQ(stream.ok_tokens(), (first + 8) * kTokens);
    EXPECT_TRUE(OkBlocksAreRight(stream, keys));
    EXPECT_EQ(stream.Confirm(first + 8), first + 8);
  }

  EXPECT_TRUE(stream.done());
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_FALSE(stream.Poll());
  EXPECT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_EQ(Hits(reader.get(), keys), 32);
  ASSERT_THAT(writer->Close(), IsOk());
  EXPECT_EQ(stream.Confirm(32), 32);
}

TEST_F(StreamFollowTest, LayerByLayer) {
  auto reader = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 24);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 24), IsOkAndHolds(0));
  ASSERT_TRUE(AreComing(reader.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());

  // Two chunks of eight; the layers of the second come when the first is ok.
  for (uint32_t first = 0; first < 16; first += 8) {
    for (uint32_t layers = 1; layers < kLayers; ++layers) {
      ASSERT_THAT(writer->Write(first, 8, layers - 1, 1), IsOk());
      ASSERT_THAT(writer->CommitLayers(first, 8, layers), IsOk());
      ASSERT_THAT(stream.WaitLayer(first + 8, layers, Soon()), IsOk());
      EXPECT_EQ(stream.ok_blocks(), first);
      EXPECT_EQ(stream.layered_end(), first + 8);
      EXPECT_EQ(stream.ok_layers(), layers);
      EXPECT_TRUE(LayersAreRight(stream, keys));
    }
    ASSERT_THAT(writer->Write(first, 8, kLayers - 1, 1), IsOk());
    ASSERT_THAT(writer->Commit(first, 8), IsOk());
    ASSERT_THAT(stream.WaitLayer(first + 8, kLayers, Soon()), IsOk());
    EXPECT_EQ(stream.ok_blocks(), first + 8);
    EXPECT_TRUE(OkBlocksAreRight(stream, keys));
  }
  // A chunk whose end was named keeps it.
  ASSERT_THAT(writer->CommitLayers(16, 4, 1), IsOk());
  EXPECT_THAT(writer->CommitLayers(16, 8, 2),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(writer->CommitLayers(20, 4, 1),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(writer->Produce(16, 8), IsOk());
  EXPECT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));
}

TEST_F(StreamFollowTest, ADeadlineLeavesTheStreamAsItIs) {
  auto reader = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 8);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 8), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());

  const auto briefly = [] { return absl::Now() + absl::Milliseconds(20); };
  const auto late = StatusIs(absl::StatusCode::kDeadlineExceeded);
  const auto wrong = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(stream.WaitChunk(1, briefly()), late);
  EXPECT_THAT(stream.WaitLayer(1, 1, absl::InfinitePast()), late);
  EXPECT_THAT(stream.WaitCommitted(briefly()), late);
  EXPECT_THAT(stream.WaitChange(briefly()), late);
  EXPECT_THAT(stream.WaitChunk(9, briefly()), wrong);
  EXPECT_THAT(stream.WaitLayer(1, kLayers + 1, briefly()), wrong);
  EXPECT_THAT(stream.WaitLayer(9, 1, briefly()), wrong);
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_FALSE(stream.done());

  ASSERT_THAT(writer->Produce(0, 8), IsOk());
  EXPECT_THAT(stream.WaitChunk(8, Soon()), IsOk());
  // What is there needs no time.
  EXPECT_THAT(stream.WaitChunk(8, absl::InfinitePast()), IsOk());
}

TEST_F(StreamFollowTest, AnEventLoopFollowsByDescriptor) {
  auto reader = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 8);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 8), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());
  const auto fd = stream.event_fd();
  ASSERT_THAT(fd, IsOk());
  const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event interest{};
  interest.events = EPOLLIN;
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, *fd, &interest), 0);
  const auto readable = [&epoll](int timeout_ms) {
    epoll_event event{};
    return ::epoll_wait(epoll.get(), &event, 1, timeout_ms) == 1;
  };

  // Each step of the writer makes it readable, and Poll shows what came.
  const auto follow_until = [&](const auto& there) {
    const absl::Time deadline = Soon();
    while (!there()) {
      if (absl::Now() > deadline || !readable(10'000)) return false;
      stream.Poll();
    }
    return true;
  };
  for (uint32_t p = 0; p < 8; p += 2) {
    ASSERT_THAT(writer->Write(p, 2), IsOk());
    ASSERT_THAT(writer->CommitLayers(p, 2, 1), IsOk());
    EXPECT_TRUE(follow_until([&] { return stream.layered_end() == p + 2; }));
    // With nothing new it becomes quiet.
    EXPECT_TRUE(Eventually([&] {
      stream.Poll();
      return !readable(0);
    }));
    ASSERT_THAT(writer->Commit(p, 2), IsOk());
    EXPECT_TRUE(follow_until([&] { return stream.ok_blocks() == p + 2; }));
  }
  EXPECT_TRUE(stream.done());
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));

  // The end of a publication is an event, too.
  const std::vector<BlockKey> more = Keys(100, 4);
  ASSERT_THAT(writer->Begin(100, 4), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), more));
  ASSERT_THAT(reader->Match(more, {}, &stream), IsOk());
  const auto second = stream.event_fd();
  ASSERT_THAT(second, IsOk());
  const UniqueFd other(::epoll_create1(EPOLL_CLOEXEC));
  ASSERT_EQ(::epoll_ctl(other.get(), EPOLL_CTL_ADD, *second, &interest), 0);
  ASSERT_THAT(writer->Abort(), IsOk());
  const absl::Time deadline = Soon();
  while (!stream.done() && absl::Now() < deadline) {
    epoll_event event{};
    ASSERT_EQ(::epoll_wait(other.get(), &event, 1, 10'000), 1);
    stream.Poll();
  }
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kAborted));
}

// Goal    Two pullers, one of layers and one of whole blocks, end with the
//         same bytes in their own memory, and copied nothing too often.
TEST_F(StreamFollowTest, PullersCopyWhileItIsWritten) {
  constexpr uint32_t kBlocks = 40;
  const NamespaceSpec spec = LayeredSpec(/*slices=*/2);
  const uint64_t page_bytes = spec.groups[0].page_bytes();
  auto reader = Join(spec);
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, kBlocks);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, kBlocks), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), keys));

  struct Puller {
    PrefixStream stream;
    std::vector<std::byte> memory;
    uint64_t copied_bytes = 0;
    absl::Status status;
  };
  std::vector<Puller> pullers(2);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < pullers.size(); ++i) {
    Puller& puller = pullers[i];
    puller.memory.resize(uint64_t{kBlocks} * 2 * page_bytes);
    ASSERT_THAT(reader->Match(keys, {}, &puller.stream), IsOk());
    threads.emplace_back([&puller, page_bytes, by_layer = i == 0] {
      PrefixStream::PullOptions options;
      options.by_layer = by_layer;
      puller.status = puller.stream.PullTo(
          options,
          [&](uint32_t block, uint32_t slice, uint32_t layer, uint32_t layers,
              std::span<const std::byte> bytes) {
            EXPECT_EQ(bytes.size(), layers * (page_bytes / kLayers));
            const uint64_t at = (block * 2 + slice) * page_bytes +
                                layer * (page_bytes / kLayers);
            std::memcpy(puller.memory.data() + at, bytes.data(), bytes.size());
            puller.copied_bytes += bytes.size();
          },
          Soon());
    });
  }
  for (uint32_t p = 0; p < kBlocks; p += 10) {
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      ASSERT_THAT(writer->Write(p, 10, layer, 1), IsOk());
      ASSERT_THAT(writer->CommitLayers(p, 10, layer + 1), IsOk());
    }
    ASSERT_THAT(writer->Commit(p, 10), IsOk());
  }
  for (std::thread& thread : threads) thread.join();

  for (const Puller& puller : pullers) {
    EXPECT_THAT(puller.status, IsOk());
    EXPECT_EQ(puller.stream.copied_blocks(), kBlocks);
    EXPECT_EQ(puller.copied_bytes, puller.memory.size());
    for (uint32_t b = 0; b < kBlocks; ++b) {
      for (uint32_t slice = 0; slice < 2; ++slice) {
        EXPECT_TRUE(
            IsPayload(keys[b], slice, 0,
                      std::span(puller.memory)
                          .subspan((b * 2 + slice) * page_bytes, page_bytes)));
      }
    }
  }
}

TEST_F(StreamFollowTest, OneSliceCanBePulledAlone) {
  const NamespaceSpec spec = LayeredSpec(/*slices=*/2);
  auto reader = Join(spec);
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 6);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 6), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());
  PrefixStream::PullOptions options;
  options.slice_first = 1;
  options.slice_count = 1;
  options.by_layer = false;
  std::vector<uint32_t> blocks;
  const PrefixStream::CopyOut copy = [&](uint32_t block, uint32_t slice,
                                         uint32_t layer, uint32_t layers,
                                         std::span<const std::byte> bytes) {
    EXPECT_EQ(slice, 1);
    EXPECT_EQ(layer, 0);
    EXPECT_EQ(layers, kLayers);
    EXPECT_TRUE(IsPayload(keys[block], 1, 0, bytes));
    blocks.push_back(block);
  };

  EXPECT_FALSE(stream.PullSome(options, copy));
  ASSERT_THAT(writer->Produce(0, 2), IsOk());
  ASSERT_THAT(stream.WaitChunk(2, Soon()), IsOk());
  EXPECT_TRUE(stream.PullSome(options, copy));
  EXPECT_EQ(stream.copied_blocks(), 2);
  ASSERT_THAT(writer->Produce(2, 4), IsOk());
  EXPECT_THAT(stream.PullTo(options, copy, Soon()), IsOk());
  EXPECT_EQ(blocks, (std::vector<uint32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(stream.copied_blocks(), 6);
}

// Goal    A commit out of order is seen when its turn has come, and a reader
//         is not led past the gap.
TEST_F(StreamFollowTest, AGapIsNotPassed) {
  auto reader = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 12);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 12), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());
  ASSERT_THAT(writer->Produce(0, 4), IsOk());
  ASSERT_THAT(writer->Write(8, 4), IsOk());
  ASSERT_THAT(writer->CommitAndWait(8, 4), IsOk());

  ASSERT_THAT(stream.WaitChunk(4, Soon()), IsOk());
  EXPECT_THAT(stream.WaitChunk(5, absl::Now() + absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(stream.ok_blocks(), 4);
  ASSERT_THAT(writer->Produce(4, 4), IsOk());
  EXPECT_THAT(stream.WaitChunk(12, Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));
}

TEST_F(StreamFollowTest, OnlyOnRequestAreBlocksInFlightSeen) {
  auto reader = Join();
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, 20);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, 20), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), keys));
  ASSERT_THAT(writer->Write(0, 12), IsOk());
  ASSERT_THAT(writer->CommitAndWait(0, 12), IsOk());

  StreamOptions plain;
  plain.include_in_flight = false;
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, plain, &stream), IsOk());
  EXPECT_EQ(stream.ok_blocks(), 12);
  EXPECT_EQ(stream.block_count(), 12);
  EXPECT_TRUE(stream.done());
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_TRUE(stream.page(12).empty());
  EXPECT_EQ(Hits(reader.get(), keys), 12);

  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());
  EXPECT_EQ(stream.ok_blocks(), 12);
  EXPECT_EQ(stream.block_count(), 20);
  EXPECT_FALSE(stream.done());

  // All there, nothing in flight: a match is all it is.
  ASSERT_THAT(writer->Write(12, 8), IsOk());
  ASSERT_THAT(writer->CommitAndWait(12, 8), IsOk());
  ASSERT_THAT(reader->Match(keys, plain, &stream), IsOk());
  EXPECT_EQ(stream.ok_blocks(), 20);
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));
}

TEST_F(StreamFollowTest, NobodyWritingIsNotFoundAtOnce) {
  auto reader = Join();
  PrefixStream stream;
  ASSERT_THAT(reader->Match(Keys(0, 4), {}, &stream), IsOk());
  EXPECT_TRUE(stream.done());
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(stream.WaitChunk(1, Soon()),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(reader->Match(std::span<const BlockKey>(), {}, &stream),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(reader->Match(Keys(0, 16385), {}, &stream),
              StatusIs(absl::StatusCode::kInvalidArgument));
  StreamOptions unknown;
  unknown.group = 1;
  EXPECT_THAT(reader->Match(Keys(0, 4), unknown, &stream),
              StatusIs(absl::StatusCode::kInvalidArgument));
  StreamOptions full_tail;
  full_tail.tail_tokens = kTokens;
  EXPECT_THAT(reader->Match(Keys(0, 4), full_tail, &stream),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry::test
