// Waits of one thread that another one ends, and the event descriptor.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/support/becomes.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/client/stream_fixture.h"

namespace kvferry::sdk {
namespace {

using test::Becomes;
using test::IsOk;
using test::StatusIs;

bool IsReadable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

// --- futexes ---

class FutexManyTest : public testing::TestWithParam<void (*)(
                          std::span<const FutexWord>, absl::Duration)> {};

TEST_P(FutexManyTest, AnyOfTheWordsEndsTheWait) {
  for (const size_t count : {size_t{1}, size_t{2}, kFutexWordsMax}) {
    std::vector<std::atomic<uint32_t>> words(count);
    std::vector<FutexWord> waited;
    for (const auto& word : words) waited.push_back({&word, 0});
    std::thread waker([&words] {
      words.back().store(1);
      FutexWakeAll(&words.back());
    });

    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (!waited.back().Changed() && absl::Now() < deadline) {
      GetParam()(waited, absl::Seconds(1));
    }

    EXPECT_TRUE(waited.back().Changed());
    waker.join();
  }
}

TEST_P(FutexManyTest, AWordThatHasChangedIsNotWaitedFor) {
  std::atomic<uint32_t> same{3};
  std::atomic<uint32_t> changed{4};
  const std::array<FutexWord, 2> words = {{{&same, 3}, {&changed, 3}}};
  const absl::Time begin = absl::Now();
  GetParam()(words, absl::Hours(1));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(30));
}

TEST_P(FutexManyTest, TheTimeoutEndsIt) {
  std::atomic<uint32_t> a{0};
  std::atomic<uint32_t> b{0};
  const std::array<FutexWord, 2> words = {{{&a, 0}, {&b, 0}}};
  GetParam()(words, absl::Milliseconds(2));
  GetParam()(words, absl::ZeroDuration());
}

INSTANTIATE_TEST_SUITE_P(Ways, FutexManyTest,
                         testing::Values(&FutexWaitMany, &FutexWaitFirst));

// --- waits ---

class StreamWaitTest : public StreamFixture {
 protected:
  absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

  StreamState stream_;
};

TEST_F(StreamWaitTest, EveryCommitWakesTheReader) {
  OpenOne(50);
  ASSERT_THAT(Start(&stream_, Keys(0, 50)), IsOk());
  std::atomic<uint32_t> seen{0};
  std::thread publisher([&] {
    for (uint32_t p = 0; p < 50; ++p) {
      // The reader sleeps by then, or is about to.
      while (seen.load() < p) std::this_thread::yield();
      Pass(writer(), kGeneration, p + 1);
    }
  });

  for (uint32_t p = 1; p <= 50; ++p) {
    EXPECT_THAT(stream_.WaitChunk(p, Soon()), IsOk());
    seen.store(p);
  }

  publisher.join();
  EXPECT_TRUE(stream_.done());
}

TEST_F(StreamWaitTest, KeysAndLayersAndTheEndWakeTheReader) {
  OpenOne(0);
  ASSERT_THAT(Start(&stream_, Keys(0, 3), Hint()), IsOk());
  std::thread publisher([&] {
    PutPending(0, At(0));
    Changed(kSlot);
    PassLayers(writer(), kGeneration, 0, 2, 1);
    PutPending(1, At(1));
    Changed(kSlot);
    Pass(writer(), kGeneration, 2);
    MakeReady(0);
    MakeReady(1);
    Changed(kSlot);
    End(kSlot);
  });

  EXPECT_THAT(stream_.WaitLayer(1, 1, Soon()), IsOk());
  EXPECT_THAT(stream_.WaitChunk(2, Soon()), IsOk());
  EXPECT_THAT(stream_.WaitChunk(3, Soon()),
              StatusIs(absl::StatusCode::kNotFound));

  publisher.join();
  EXPECT_EQ(stream_.ok_blocks(), 2);
}

TEST_F(StreamWaitTest, AWriterThatGivesUpReleasesTheReader) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  std::thread publisher([&] { GiveUp(writer(), kGeneration); });
  EXPECT_THAT(stream_.WaitChange(Soon()), StatusIs(absl::StatusCode::kAborted));
  publisher.join();
}

TEST_F(StreamWaitTest, ACommitOfTheDaemonReleasesTheReader) {
  OpenOne(2);
  Pass(writer(), kGeneration, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  std::thread daemon([&] {
    MakeReady(0);
    Changed(kSlot);
    MakeReady(1);
    Changed(kSlot);
  });
  EXPECT_THAT(stream_.WaitCommitted(Soon()), IsOk());
  daemon.join();
}

// Goal    Pages are only believed when whole: every pull of a stream under way
//         has the publisher's bytes.
// Method  A publisher thread fills, tells layers, commits; the reader pulls.
TEST_F(StreamWaitTest, PulledBytesAreThePublishers) {
  constexpr uint32_t kCount = 64;
  constexpr uint32_t kChunk = 4;
  OpenOne(kCount);
  ASSERT_THAT(Start(&stream_, Keys(0, kCount)), IsOk());
  std::vector<std::byte> copied(kCount * kPageBytes);
  std::thread publisher([&] {
    for (uint32_t first = 0; first < kCount; first += kChunk) {
      for (uint32_t layer = 0; layer < kLayers; ++layer) {
        for (uint32_t p = first; p < first + kChunk; ++p) {
          std::memset(fake_.Page(0, p) + layer * (kPageBytes / kLayers),
                      static_cast<int>(p * kLayers + layer),
                      kPageBytes / kLayers);
        }
        PassLayers(writer(), kGeneration, first, first + kChunk, layer + 1);
      }
      Pass(writer(), kGeneration, first + kChunk);
    }
  });

  EXPECT_THAT(stream_.PullTo(
                  {},
                  [&](uint32_t block, uint32_t, uint32_t layer, uint32_t,
                      std::span<const std::byte> bytes) {
                    std::memcpy(copied.data() + block * kPageBytes +
                                    layer * (kPageBytes / kLayers),
                                bytes.data(), bytes.size());
                  },
                  Soon()),
              IsOk());
  publisher.join();

  EXPECT_EQ(stream_.copied_blocks(), kCount);
  for (uint32_t p = 0; p < kCount; ++p) {
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      ASSERT_EQ(copied[p * kPageBytes + layer * (kPageBytes / kLayers)],
                static_cast<std::byte>(p * kLayers + layer));
    }
  }
}

// --- event_fd ---

TEST_F(StreamWaitTest, TheDescriptorIsReadableUntilThePoll) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  const absl::StatusOr<int> fd = stream_.event_fd();
  ASSERT_THAT(fd, IsOk());
  EXPECT_EQ(*stream_.event_fd(), *fd);
  EXPECT_TRUE(IsReadable(*fd)) << "nobody has looked yet";

  EXPECT_FALSE(stream_.Poll());
  Pass(writer(), kGeneration, 1);
  EXPECT_TRUE(Becomes([&] { return IsReadable(*fd); }));
  EXPECT_TRUE(IsReadable(*fd)) << "still: a level, not an edge";

  EXPECT_TRUE(stream_.Poll());
  EXPECT_EQ(stream_.ok_blocks(), 1);

  // Between the look and the wait nothing is lost.
  Pass(writer(), kGeneration, 2);
  EXPECT_TRUE(Becomes([&] { return IsReadable(*fd); }));
  EXPECT_TRUE(stream_.Poll());
  EXPECT_TRUE(stream_.done());
  EXPECT_FALSE(IsReadable(*fd));
}

TEST_F(StreamWaitTest, APullKeepsTheDescriptorGoing) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  const absl::StatusOr<int> fd = stream_.event_fd();
  ASSERT_THAT(fd, IsOk());
  stream_.Poll();
  Pass(writer(), kGeneration, 1);
  EXPECT_TRUE(stream_.PullSome({}, [](auto&&...) {}));

  while (IsReadable(*fd)) stream_.Poll();
  Pass(writer(), kGeneration, 2);

  EXPECT_TRUE(Becomes([&] { return IsReadable(*fd); }));
}

TEST_F(StreamWaitTest, StreamsComeAndGoWhileTheyAreWatched) {
  OpenOne(8);
  std::atomic<bool> stop{false};
  std::thread publisher([&] {
    while (!stop.load()) {
      Wake(writer());
      Changed(kSlot);
    }
  });
  for (int round = 0; round < 200; ++round) {
    std::vector<std::unique_ptr<StreamState>> streams;
    for (int i = 0; i < 4; ++i) {
      streams.push_back(std::make_unique<StreamState>());
      ASSERT_THAT(Start(streams.back().get(), Keys(0, 8)), IsOk());
      ASSERT_THAT(streams.back()->event_fd(), IsOk());
      streams.back()->Poll();
    }
    streams[1]->Release();
  }
  stop.store(true);
  publisher.join();

  EXPECT_EQ(fake_.pin_sum(), 0);
  // Nothing of the streams is kept once the watcher has looked again.
  EXPECT_TRUE(Becomes([&] { return attachment_.use_count() == 1; }));
}

TEST_F(StreamWaitTest, AStreamOutlivesTheThreadThatWatchesIt) {
  OpenOne(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  ASSERT_THAT(stream_.event_fd(), IsOk());
  stream_.Poll();

  watcher_->Stop();

  Pass(writer(), kGeneration, 1);
  EXPECT_TRUE(stream_.Poll());
  EXPECT_TRUE(stream_.done());
  StreamState another;
  ASSERT_THAT(Start(&another, Keys(0, 1)), IsOk());
  EXPECT_THAT(another.event_fd(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace kvferry::sdk
