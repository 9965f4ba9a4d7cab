// What only the emulated device has: faults, capture and gaps on demand, and
// refusals where a GPU would break.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "tests/unit/gpu/emulated_fixture.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::IsOkAndHolds;
using test::StatusIs;
using testing::AllOf;
using testing::HasSubstr;

using EmulatedDeviceTest = EmulatedTest;

// --- order ----------------------------------------------------------------

// Goal: a stream that waits for another's event does nothing before it.
// Method: the other's copy hangs; afterwards the bytes have come the whole way.
TEST_F(EmulatedDeviceTest, WaitsAsLongAsTheOtherStreamHangs) {
  const auto source = NewMemory(kBytes);
  const auto hop = NewMemory(kBytes);
  const auto target = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 1);
  Upload(bytes, source->address());
  const auto other = NewStream();
  const auto hopped = NewEvent();
  const auto landed = NewEvent();
  control_.HangWork();
  ASSERT_THAT(CopyOn(other->native(), hop->address(), source->address()),
              IsOk());
  ASSERT_THAT(device_->Record(hopped.get(), other->native()), IsOk());
  ASSERT_THAT(device_->StreamWait(stream_->native(), *hopped), IsOk());
  ASSERT_THAT(CopyOn(stream_->native(), target->address(), hop->address()),
              IsOk());
  ASSERT_THAT(device_->Record(landed.get(), stream_->native()), IsOk());
  control_.WaitUntilHung();
  EXPECT_THAT(device_->IsDone(*hopped), IsOkAndHolds(false));
  EXPECT_THAT(device_->IsDone(*landed), IsOkAndHolds(false));
  control_.Release();
  ASSERT_THAT(device_->Synchronize(*landed), IsOk());
  EXPECT_THAT(device_->IsDone(*hopped), IsOkAndHolds(true));
  EXPECT_EQ(Download(target->address(), kBytes), bytes);
}

// Goal: of an event the last Record counts, for those who wait later, and the
//       one before for those who wait already.
// Method: an event of a hanging stream is recorded again on an idle one.
TEST_F(EmulatedDeviceTest, CountsTheLastRecord) {
  const auto memory = NewMemory(2 * kBytes);
  const auto hanging = NewStream();
  const auto event = NewEvent();
  const auto waited = NewEvent();
  control_.HangWork();
  ASSERT_THAT(
      CopyOn(hanging->native(), memory->address(), memory->address() + kBytes),
      IsOk());
  ASSERT_THAT(device_->Record(event.get(), hanging->native()), IsOk());
  ASSERT_THAT(device_->StreamWait(nullptr, *event), IsOk());
  ASSERT_THAT(device_->Record(waited.get(), nullptr), IsOk());
  ASSERT_THAT(device_->Record(event.get(), stream_->native()), IsOk());
  EXPECT_THAT(device_->Synchronize(*event), IsOk());
  EXPECT_THAT(device_->IsDone(*waited), IsOkAndHolds(false));
  control_.Release();
  EXPECT_THAT(device_->Synchronize(*waited), IsOk());
}

TEST_F(EmulatedDeviceTest, ReleasesWhatIsStillToHang) {
  const auto memory = NewMemory(2 * kBytes);
  control_.HangWork();
  control_.Release();
  EXPECT_THAT(
      CopyOn(stream_->native(), memory->address(), memory->address() + kBytes),
      IsOk());
  EXPECT_THAT(Finish(stream_->native()), IsOk());
}

TEST_F(EmulatedDeviceTest, DelaysItsWorkWhenTold) {
  EmulatedOptions options;
  options.delay_us = 100;
  const auto device = Open(options);
  const auto memory = NewMemory(kBytes);
  const Bytes bytes = RandomBytes(kBytes, 2);
  const Copy copy{memory->address(), bytes.data(), kBytes};
  EXPECT_THAT(device->CopyAsync({&copy, 1}, stream_->native()), IsOk());
  EXPECT_THAT(Finish(stream_->native()), IsOk());
  EXPECT_EQ(Download(memory->address(), kBytes), bytes);
}

// --- breaking -------------------------------------------------------------

// Goal: a failed piece of work breaks the device for good and for everybody in
//       the process; what was queued behind it is not done, and nobody is left
//       waiting.
// Method: the second of three copies fails.
TEST_F(EmulatedDeviceTest, IsBrokenByAFailure) {
  auto other = OpenAgain();
  ASSERT_THAT(other, IsOk());
  auto memory = NewMemory(4 * kBytes);
  Upload(RandomBytes(4 * kBytes, 3), memory->address());
  const Bytes before = Download(memory->address(), 4 * kBytes);
  auto before_failure = NewEvent();
  auto after_failure = NewEvent();
  std::byte* const at = memory->address();

  control_.FailWork(2);
  EXPECT_THAT(CopyOn(stream_->native(), at + kBytes, at), IsOk());
  EXPECT_THAT(device_->Record(before_failure.get(), stream_->native()), IsOk());
  ASSERT_THAT(device_->Synchronize(*before_failure), IsOk());
  EXPECT_THAT(CopyOn(stream_->native(), at + 2 * kBytes, at), IsOk());
  // These are queued before or after it breaks.
  (void)CopyOn(stream_->native(), at + 3 * kBytes, at);
  const absl::Status status = Finish(stream_->native());
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("emulated:0"), HasSubstr("failed"))));
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + kBytes, at + kBytes));
  EXPECT_TRUE(
      std::equal(before.begin() + 2 * kBytes, before.end(), at + 2 * kBytes));

  const auto unavailable = StatusIs(absl::StatusCode::kUnavailable);
  for (Device* const device : {device_.get(), other->get()}) {
    EXPECT_THAT(device->IsDone(*before_failure), unavailable);
    EXPECT_THAT(device->Synchronize(*before_failure), unavailable);
    EXPECT_THAT(device->Allocate(kBytes, ExportMode::kAuto), unavailable);
    EXPECT_THAT(device->AllocatePrivate(kBytes), unavailable);
    EXPECT_THAT(device->CreateStream(), unavailable);
    EXPECT_THAT(device->CreateEvent(), unavailable);
    EXPECT_THAT(device->CopyAsync({}, nullptr), unavailable);
    EXPECT_THAT(device->IsCapturing(nullptr), unavailable);
    EXPECT_THAT(device->RegisterHost(at, kBytes, false), unavailable);
    EXPECT_THAT(device->Import({}), unavailable);
    EXPECT_THAT(device->Prepare({}), unavailable);
    EXPECT_THAT(device->Record(after_failure.get(), nullptr), unavailable);
    EXPECT_THAT(device->StreamWait(nullptr, *before_failure), unavailable);
  }
}

// Goal: the next device of a number is sound once the broken one is gone.
TEST_F(EmulatedDeviceTest, IsSoundWhenOpenedAnew) {
  constexpr uint32_t kNumber = 7;
  EmulatedOptions options;
  options.number = kNumber;
  {
    const auto device = Open(options);
    EmulatedControl(kNumber).Break("it fell from the bus");
    EXPECT_THAT(device->CreateStream(),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("fell from the bus")));
  }
  EXPECT_THAT(Open(options)->CreateStream(), IsOk());
}

// Goal: breaking ends what hangs, undone, and all who wait.
// Method: a copy hangs, another stream waits for it.
TEST_F(EmulatedDeviceTest, LeavesNobodyWaitingWhenItBreaks) {
  const auto memory = NewMemory(2 * kBytes);
  const Bytes bytes = RandomBytes(2 * kBytes, 4);
  Upload(bytes, memory->address());
  const auto hanging = NewStream();
  const auto event = NewEvent();
  control_.HangWork();
  ASSERT_THAT(
      CopyOn(hanging->native(), memory->address(), memory->address() + kBytes),
      IsOk());
  ASSERT_THAT(device_->Record(event.get(), hanging->native()), IsOk());
  ASSERT_THAT(device_->StreamWait(stream_->native(), *event), IsOk());
  const auto waited = NewEvent();
  ASSERT_THAT(device_->Record(waited.get(), stream_->native()), IsOk());
  control_.WaitUntilHung();
  control_.Break("unplugged");
  EXPECT_THAT(device_->Synchronize(*waited),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("unplugged")));
  stream_.reset();  // waits for it
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), memory->address()));
}

// --- capture --------------------------------------------------------------

// Goal: a stream that is being captured says so and takes nothing.
// Method: an own stream and the default one; both work again afterwards.
TEST_F(EmulatedDeviceTest, RefusesAStreamThatIsBeingCaptured) {
  const auto memory = NewMemory(2 * kBytes);
  const auto event = NewEvent();
  for (void* const stream : {stream_->native(), static_cast<void*>(nullptr)}) {
    ASSERT_THAT(control_.BeginCapture(stream), IsOk());
    EXPECT_THAT(device_->IsCapturing(stream), IsOkAndHolds(true));
    const auto refused =
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("captured"));
    EXPECT_THAT(CopyOn(stream, memory->address(), memory->address() + kBytes),
                refused);
    EXPECT_THAT(device_->Record(event.get(), stream), refused);
    EXPECT_THAT(device_->StreamWait(stream, *event), refused);
    ASSERT_THAT(control_.EndCapture(stream), IsOk());
    EXPECT_THAT(device_->IsCapturing(stream), IsOkAndHolds(false));
    EXPECT_THAT(Finish(stream), IsOk());
  }
}

// --- what a GPU would break on --------------------------------------------

TEST_F(EmulatedDeviceTest, RefusesStreamsThatAreNone) {
  int nothing = 0;
  auto gone = NewStream();
  void* const native = gone->native();
  gone.reset();
  EmulatedOptions options;
  options.number = 1;
  const auto other = Open(options);
  const auto others = other->CreateStream();
  ASSERT_THAT(others, IsOk());
  for (void* const stream :
       {static_cast<void*>(&nothing), native, (*others)->native()}) {
    EXPECT_THAT(device_->IsCapturing(stream),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(device_->CopyAsync({}, stream),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

// Goal: pages that the device cannot reach, or not so, are refused.
// Method: pageable memory, read-only memory for writing, a page that begins in
//         device memory and ends outside, a peer's memory without peer access.
TEST_F(EmulatedDeviceTest, RefusesPagesThatItCannotReach) {
  EngineLayout layout;
  layout.group = OpaqueGroup(16, kBytes);
  const auto engine = NewMemory(kBytes);
  layout.layers = {{engine->address(), 0, kBytes, kBytes / 16, 0}};
  layout.block_count = 1;
  const auto prepared = device_->Prepare(layout);
  ASSERT_THAT(prepared, IsOk());
  const auto gather = [&](Device* device, std::byte* page) {
    const PageTransfer transfer{0, page, 0, 0};
    return device->Gather(**prepared, {}, {&transfer, 1}, stream_->native());
  };
  const auto refused = [](const char* why) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why));
  };

  Bytes host(2 * kBytes);
  EXPECT_THAT(gather(device_.get(), host.data()), refused("neither"));
  const auto read_only = device_->RegisterHost(host.data(), kBytes, true);
  ASSERT_THAT(read_only, IsOk());
  EXPECT_THAT(gather(device_.get(), host.data()), refused("reading only"));
  // Two registrations side by side are as good as one, but both are needed.
  const auto rest = device_->RegisterHost(host.data() + kBytes, 64, false);
  ASSERT_THAT(rest, IsOk());
  const PageTransfer scatter{0, host.data() + 64, 0, 0};
  EXPECT_THAT(
      device_->Scatter(**prepared, {}, {&scatter, 1}, stream_->native()),
      IsOk());
  const PageTransfer beyond{0, host.data() + 65, 0, 0};
  EXPECT_THAT(device_->Scatter(**prepared, {}, {&beyond, 1}, stream_->native()),
              refused("neither"));

  EmulatedOptions options;
  options.number = 1;
  const auto peer = Open(options);
  const auto peer_memory = peer->AllocatePrivate(kBytes);
  ASSERT_THAT(peer_memory, IsOk());
  EXPECT_THAT(gather(device_.get(), (*peer_memory)->address()), IsOk());
  options.number = 0;
  options.missing = {kCapabilityPeer};
  EXPECT_THAT(gather(Open(options).get(), (*peer_memory)->address()),
              refused("emulated:1"));
  EXPECT_THAT(Finish(stream_->native()), IsOk());
}

// Goal: with a range of layers only their bytes of a page need be there.
// Method: a page of two layers whose second one alone is device memory.
TEST_F(EmulatedDeviceTest, AsksForNoMoreOfAPageThanItsLayers) {
  EngineLayout layout;
  layout.group = OpaqueGroup(16, kBytes);
  layout.group.layer_count = 2;
  const auto engine = NewMemory(2 * kBytes);
  Upload(RandomBytes(2 * kBytes, 5), engine->address());
  for (int i = 0; i < 2; ++i) {
    layout.layers.push_back(
        {engine->address() + i * kBytes, 0, kBytes, kBytes / 16, 0});
  }
  layout.block_count = 1;
  const auto prepared = device_->Prepare(layout);
  ASSERT_THAT(prepared, IsOk());
  Bytes host(2 * kBytes);
  const auto second =
      device_->RegisterHost(host.data() + kBytes, kBytes, false);
  ASSERT_THAT(second, IsOk());
  const PageTransfer page{0, host.data(), 0, 0};
  EXPECT_THAT(
      device_->Gather(**prepared, {0, 1}, {&page, 1}, stream_->native()),
      StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      device_->Gather(**prepared, {1, 0}, {&page, 1}, stream_->native()),
      IsOk());
  EXPECT_THAT(Finish(stream_->native()), IsOk());
  EXPECT_TRUE(std::equal(host.begin() + kBytes, host.end(),
                         engine->address() + kBytes));
}

TEST_F(EmulatedDeviceTest, RefusesHostMemoryThatIsNotMapped) {
  void* const hole =
      ::mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(hole, MAP_FAILED);
  ASSERT_EQ(::munmap(hole, kBytes), 0);
  EXPECT_THAT(
      device_->RegisterHost(static_cast<std::byte*>(hole), kBytes, false),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not mapped")));
}

// Goal: a forked child is refused, and lets go of what it has a copy of without
//       a thread to wait for; its parent's files stay.
// Method: the child answers by its exit status.
TEST_F(EmulatedDeviceTest, RefusesAForkedChild) {
  auto memory = device_->Allocate(kBytes, ExportMode::kIpc);
  ASSERT_THAT(memory, IsOk());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool refused =
        absl::IsFailedPrecondition(device_->CreateStream().status()) &&
        absl::IsFailedPrecondition(
            CopyOn(nullptr, (*memory)->address(), (*memory)->address()));
    memory->reset();
    stream_.reset();
    device_.reset();
    ::_exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(FileCount(), 1u);
  EXPECT_THAT(Finish(stream_->native()), IsOk());
}

}  // namespace
}  // namespace kvferry::gpu
