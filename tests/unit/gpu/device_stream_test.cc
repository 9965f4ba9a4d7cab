// Streams, events and copies.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "tests/unit/gpu/device_fixture.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::IsOkAndHolds;
using test::StatusIs;

constexpr uint64_t kBytes = 100'003;

class DeviceStreamTest : public DeviceTest {
 protected:
  absl::Status CopyOn(Stream* stream, std::byte* target,
                      const std::byte* source, uint64_t bytes = kBytes) {
    const Copy copy{target, source, bytes};
    return device_->CopyAsync({&copy, 1}, stream->native());
  }
};

TEST_F(DeviceStreamTest, CopiesBetweenTheHostAndTheDevice) {
  const auto memory = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 1);
  Upload(bytes, memory->address());
  EXPECT_EQ(Download(memory->address(), kBytes), bytes);
}

// Goal: one call takes many copies, and its list is the caller's when it
//       returns.
// Method: a memory turned round in pieces of 1 to 16 bytes; the list is cleared
//         at once.
TEST_F(DeviceStreamTest, TakesManyCopiesInOneCall) {
  const auto source = NewMemory(kBytes);
  const auto target = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 2);
  Upload(bytes, source->address());
  Bytes expected(kBytes);
  std::vector<Copy> copies;
  for (uint64_t at = 0, piece = 1; at < kBytes; at += piece) {
    piece = std::min<uint64_t>(1 + copies.size() % 16, kBytes - at);
    copies.push_back({target->address() + kBytes - at - piece,
                      source->address() + at, piece});
    std::copy_n(bytes.begin() + at, piece,
                expected.begin() + kBytes - at - piece);
  }
  ASSERT_THAT(device_->CopyAsync(copies, stream_->native()), IsOk());
  copies.assign(copies.size(), Copy{});
  ASSERT_THAT(Finish(stream_->native()), IsOk());
  EXPECT_EQ(Download(target->address(), kBytes), expected);
}

TEST_F(DeviceStreamTest, TakesNoCopiesAndCopiesOfNothing) {
  const auto memory = NewMemory(16);
  EXPECT_THAT(device_->CopyAsync({}, stream_->native()), IsOk());
  const Copy nothing{memory->address(), memory->address() + 8, 0};
  EXPECT_THAT(device_->CopyAsync({&nothing, 1}, stream_->native()), IsOk());
  EXPECT_THAT(Finish(stream_->native()), IsOk());
}

TEST_F(DeviceStreamTest, RefusesCopiesFromAndToNull) {
  const auto memory = NewMemory(16);
  EXPECT_THAT(CopyOn(stream_.get(), nullptr, memory->address(), 16),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CopyOn(stream_.get(), memory->address(), nullptr, 16),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Goal: a stream does its work in order.
// Method: bytes are handed along 16 memories, each copy reading what the one
//         before wrote.
TEST_F(DeviceStreamTest, DoesItsWorkInOrder) {
  std::vector<std::unique_ptr<DeviceMemory>> memories;
  for (int i = 0; i < 16; ++i) memories.push_back(NewMemory(kBytes));
  const Bytes bytes = RandomBytes(kBytes, 3);
  Upload(bytes, memories.front()->address());
  const auto stream = NewStream();
  for (size_t i = 1; i < memories.size(); ++i) {
    ASSERT_THAT(CopyOn(stream.get(), memories[i]->address(),
                       memories[i - 1]->address()),
                IsOk());
  }
  ASSERT_THAT(Finish(stream->native()), IsOk());
  EXPECT_EQ(Download(memories.back()->address(), kBytes), bytes);
}

// Goal: StreamWait orders streams without the processor.
// Method: bytes are handed to and fro between two memories by three streams in
//         turn, each waiting for the one before; the last copy lands elsewhere.
TEST_F(DeviceStreamTest, WaitsForAnotherStreamsEvent) {
  constexpr int kTurns = 200;
  const auto first = NewMemory(kBytes);
  const auto second = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 4);
  Upload(bytes, first->address());
  const std::array streams = {NewStream(), NewStream(), NewStream()};
  const auto event = NewEvent();
  for (int turn = 0; turn < kTurns; ++turn) {
    Stream* const stream = streams[turn % 3].get();
    ASSERT_THAT(device_->StreamWait(stream->native(), *event), IsOk());
    // One byte further each time, so that a turn that is missing shows.
    std::byte* const from =
        turn % 2 == 0 ? first->address() : second->address();
    std::byte* const to = turn % 2 == 0 ? second->address() : first->address();
    const Copy copy{to + turn + 1, from + turn, kBytes - kTurns};
    ASSERT_THAT(device_->CopyAsync({&copy, 1}, stream->native()), IsOk());
    ASSERT_THAT(device_->Record(event.get(), stream->native()), IsOk());
  }
  ASSERT_THAT(device_->Synchronize(*event), IsOk());
  const Bytes result = Download(first->address() + kTurns, kBytes - kTurns);
  EXPECT_TRUE(std::equal(result.begin(), result.end(), bytes.begin()));
}

TEST_F(DeviceStreamTest, TakesAnEventThatWasNeverRecordedForDone) {
  const auto event = NewEvent();
  EXPECT_THAT(device_->IsDone(*event), IsOkAndHolds(true));
  EXPECT_THAT(device_->Synchronize(*event), IsOk());
  EXPECT_THAT(device_->StreamWait(stream_->native(), *event), IsOk());
  EXPECT_THAT(Finish(stream_->native()), IsOk());
}

TEST_F(DeviceStreamTest, SaysThatAnEventIsDoneOnceItIs) {
  const auto event = NewEvent();
  ASSERT_THAT(device_->Record(event.get(), stream_->native()), IsOk());
  ASSERT_THAT(device_->Synchronize(*event), IsOk());
  EXPECT_THAT(device_->IsDone(*event), IsOkAndHolds(true));
}

// Goal: the null stream is a stream, and the same one for all who have the
//       device in this process.
// Method: two devices hand bytes on over it.
TEST_F(DeviceStreamTest, SharesTheDefaultStream) {
  auto other = OpenAgain();
  ASSERT_THAT(other, IsOk());
  const auto memory = NewMemory(kBytes);
  const auto hop = NewMemory(kBytes);
  const auto target = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 5);
  Upload(bytes, memory->address());
  const Copy one{hop->address(), memory->address(), kBytes};
  const Copy two{target->address(), hop->address(), kBytes};
  ASSERT_THAT(device_->CopyAsync({&one, 1}, nullptr), IsOk());
  ASSERT_THAT((*other)->CopyAsync({&two, 1}, nullptr), IsOk());
  ASSERT_THAT(Finish(nullptr), IsOk());
  EXPECT_EQ(Download(target->address(), kBytes), bytes);
}

// Goal: an engine's stream, made by another user of the device, works with
//       ours.
// Method: its event orders our work after its copy.
TEST_F(DeviceStreamTest, WorksWithAnEnginesStream) {
  auto engine = OpenAgain();
  ASSERT_THAT(engine, IsOk());
  auto engine_stream = (*engine)->CreateStream();
  ASSERT_THAT(engine_stream, IsOk());
  const auto memory = NewMemory(kBytes);
  const auto hop = NewMemory(kBytes);
  const auto target = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 6);
  Upload(bytes, memory->address());
  const Copy copy{hop->address(), memory->address(), kBytes};
  ASSERT_THAT((*engine)->CopyAsync({&copy, 1}, (*engine_stream)->native()),
              IsOk());
  const auto event = NewEvent();
  ASSERT_THAT(device_->Record(event.get(), (*engine_stream)->native()), IsOk());
  ASSERT_THAT(device_->StreamWait(stream_->native(), *event), IsOk());
  ASSERT_THAT(CopyOn(stream_.get(), target->address(), hop->address()), IsOk());
  ASSERT_THAT(Finish(stream_->native()), IsOk());
  EXPECT_EQ(Download(target->address(), kBytes), bytes);
}

// Goal: the end of a stream waits for its work.
// Method: the stream goes right after it was given a copy.
TEST_F(DeviceStreamTest, EndsOnceItIsEmpty) {
  const auto source = NewMemory(kBytes);
  const auto target = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 7);
  Upload(bytes, source->address());
  auto stream = NewStream();
  ASSERT_THAT(CopyOn(stream.get(), target->address(), source->address()),
              IsOk());
  stream.reset();
  EXPECT_EQ(Download(target->address(), kBytes), bytes);
}

TEST_F(DeviceStreamTest, IsNotCapturingUnlessSomebodyCaptures) {
  EXPECT_THAT(device_->IsCapturing(stream_->native()), IsOkAndHolds(false));
  EXPECT_THAT(device_->IsCapturing(nullptr), IsOkAndHolds(false));
}

// Goal: any number of threads use one device at once.
// Method: four threads, each with streams of its own, hand bytes through the
//         device and compare.
TEST_F(DeviceStreamTest, ServesManyThreads) {
  constexpr int kThreads = 4;
  std::array<int, kThreads> good{};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        const auto stream = NewStream();
        const auto memory = NewMemory(kBytes);
        const Bytes bytes = RandomBytes(kBytes, i * 100 + round);
        Bytes back(kBytes);
        if (CopyOn(stream.get(), memory->address(), bytes.data()).ok() &&
            CopyOn(stream.get(), back.data(), memory->address()).ok() &&
            Finish(stream->native()).ok() && back == bytes) {
          ++good[i];
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(good, testing::Each(20));
}

}  // namespace
}  // namespace kvferry::gpu
