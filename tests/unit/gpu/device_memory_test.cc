// Memory of the device, and of the host as the device sees it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "tests/unit/gpu/device_fixture.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;

using DeviceMemoryTest = DeviceTest;

constexpr uint64_t kBytes = 100'003;

TEST_F(DeviceMemoryTest, ReportsWhatItIs) {
  const DeviceReport& report = device_->report();
  EXPECT_EQ(report.kind,
            test::TestsOnCuda() ? DeviceKind::kCuda : DeviceKind::kEmulated);
  EXPECT_EQ(UuidToString(report.kind, report.uuid), test::TestDeviceName());
  EXPECT_FALSE(report.name.empty());
  EXPECT_GT(report.total_bytes, 0u);
  EXPECT_LE(report.free_bytes, report.total_bytes);
  EXPECT_EQ(report.driver_version > 0, test::TestsOnCuda());
}

TEST_F(DeviceMemoryTest, SaysWhyItLacksWhatItLacks) {
  for (const char* const name :
       {kCapabilityIpc, kCapabilityVmm, kCapabilityWholeGpu, kCapabilityShared,
        kCapabilityPeer, kCapabilityReadOnlyHost, kCapabilityBatchCopy}) {
    SCOPED_TRACE(name);
    const std::string reason = device_->report().ReasonAgainst(name);
    EXPECT_EQ(device_->report().Has(name), reason.empty());
    EXPECT_NE(reason, "unknown");
  }
  EXPECT_FALSE(device_->report().Has("wings"));
  EXPECT_EQ(device_->report().ReasonAgainst("wings"), "unknown");
}

TEST_F(DeviceMemoryTest, AllocatesMemoriesApart) {
  const auto first = NewMemory(kBytes);
  const auto second = NewMemory(kBytes);
  EXPECT_EQ(first->bytes(), kBytes);
  const Bytes one = RandomBytes(kBytes, 1);
  const Bytes two = RandomBytes(kBytes, 2);
  Upload(one, first->address());
  Upload(two, second->address());
  EXPECT_EQ(Download(first->address(), kBytes), one);
  EXPECT_EQ(Download(second->address(), kBytes), two);
}

TEST_F(DeviceMemoryTest, RefusesToAllocateNothing) {
  EXPECT_THAT(device_->AllocatePrivate(0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(device_->Allocate(0, ExportMode::kAuto),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(DeviceMemoryTest, SaysWhenThereIsNoMemoryLeft) {
  EXPECT_THAT(device_->AllocatePrivate(device_->report().total_bytes * 2),
              StatusIs(absl::StatusCode::kResourceExhausted));
  // And goes on.
  EXPECT_THAT(device_->AllocatePrivate(kBytes), IsOk());
}

TEST_F(DeviceMemoryTest, ExportsByWhatItHas) {
  const DeviceReport& report = device_->report();
  const std::pair<ExportMode, const char*> modes[] = {
      {ExportMode::kVmm, kCapabilityVmm}, {ExportMode::kIpc, kCapabilityIpc}};
  for (const auto& [mode, capability] : modes) {
    SCOPED_TRACE(capability);
    const auto memory = device_->Allocate(kBytes, mode);
    if (!report.Has(capability)) {
      EXPECT_THAT(memory, StatusIs(absl::StatusCode::kUnimplemented,
                                   HasSubstr(capability)));
      continue;
    }
    ASSERT_THAT(memory, IsOk());
    const auto exported = (*memory)->Export();
    ASSERT_THAT(exported, IsOk());
    EXPECT_EQ(exported->owner_pid, ::getpid());
    EXPECT_GE(exported->bytes, kBytes);
    const bool by_descriptor = mode == ExportMode::kVmm;
    EXPECT_EQ(exported->kind, by_descriptor ? ExportedMemory::Kind::kDescriptor
                                            : ExportedMemory::Kind::kHandle);
    EXPECT_EQ(exported->fd.valid(), by_descriptor);
    EXPECT_EQ(exported->handle.empty(), by_descriptor);
  }
}

TEST_F(DeviceMemoryTest, KeepsPrivateMemoryToItself) {
  EXPECT_THAT(NewMemory(kBytes)->Export(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(DeviceMemoryTest, RefusesToImportItsOwn) {
  const auto memory = device_->Allocate(kBytes, ExportMode::kAuto);
  ASSERT_THAT(memory, IsOk());
  const auto exported = (*memory)->Export();
  ASSERT_THAT(exported, IsOk());
  EXPECT_THAT(device_->Import(*exported),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(DeviceMemoryTest, RefusesToImportWhatIsNoMemory) {
  ExportedMemory exported;
  exported.bytes = kBytes;
  exported.owner_pid = ::getppid();
  EXPECT_THAT(device_->Import(exported),
              StatusIs(absl::StatusCode::kInvalidArgument));
  exported.kind = ExportedMemory::Kind::kHandle;
  exported.handle = {1, 2, 3};
  EXPECT_THAT(device_->Import(exported),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Goal: registered host memory is read and written by the device's own copies,
//       and may be registered again once it was let go.
// Method: there and back between two registered buffers, twice.
TEST_F(DeviceMemoryTest, ReachesRegisteredHostMemory) {
  for (int round = 0; round < 2; ++round) {
    Bytes source = RandomBytes(kBytes, round);
    Bytes target(kBytes);
    const auto from = device_->RegisterHost(source.data(), kBytes, false);
    ASSERT_THAT(from, IsOk());
    const auto to = device_->RegisterHost(target.data(), kBytes, false);
    ASSERT_THAT(to, IsOk());
    const auto memory = NewMemory(kBytes);
    const Copy in{memory->address(), (*from)->device_address(), kBytes};
    const Copy out{(*to)->device_address(), memory->address(), kBytes};
    ASSERT_THAT(device_->CopyAsync({&in, 1}, stream_->native()), IsOk());
    ASSERT_THAT(device_->CopyAsync({&out, 1}, stream_->native()), IsOk());
    ASSERT_THAT(Finish(stream_->native()), IsOk());
    EXPECT_EQ(target, source);
  }
}

TEST_F(DeviceMemoryTest, RefusesToRegisterNothing) {
  Bytes bytes(16);
  EXPECT_THAT(device_->RegisterHost(nullptr, 16, false),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(device_->RegisterHost(bytes.data(), 0, false),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(DeviceMemoryTest, RefusesToRegisterTwice) {
  Bytes bytes(kBytes);
  const auto once = device_->RegisterHost(bytes.data(), kBytes, false);
  ASSERT_THAT(once, IsOk());
  EXPECT_THAT(device_->RegisterHost(bytes.data(), kBytes, false),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry::gpu
