// Memory of the emulated device: its bound, its files, what it can lack.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "tests/unit/gpu/emulated_fixture.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::AllOf;
using testing::HasSubstr;

using EmulatedMemoryTest = EmulatedTest;

// Goal: total_bytes is one bound for all users in the process, and what is left
//       is named; imports are not counted.
// Method: three quarters and another half; freed, it fits.
TEST_F(EmulatedMemoryTest, KeepsToItsTotal) {
  EmulatedOptions options;
  options.number = 9;
  options.total_bytes = 4 * kBytes;
  const auto device = Open(options);
  const auto other = Open(options);
  auto most = device->AllocatePrivate(3 * kBytes);
  ASSERT_THAT(most, IsOk());
  EXPECT_EQ(Open(options)->report().free_bytes, kBytes);
  EXPECT_THAT(other->Allocate(2 * kBytes, ExportMode::kVmm),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("8192 bytes asked for"),
                             HasSubstr("4096 of 16384 left"))));
  most->reset();
  EXPECT_THAT(other->Allocate(2 * kBytes, ExportMode::kVmm), IsOk());
  EXPECT_EQ(EmulatedControl(9).memory_bytes(), 0u);
}

// Goal: each capability can be left out, with a reason, and what needs it says
//       so.
// Method: the exports; kAuto takes the other one.
TEST_F(EmulatedMemoryTest, LacksWhatItIsToldToLack) {
  EmulatedOptions options;
  options.directory = directory_.path();
  options.missing = {kCapabilityVmm, kCapabilityReadOnlyHost};
  const auto no_vmm = Open(options);
  EXPECT_FALSE(no_vmm->report().Has(kCapabilityVmm));
  EXPECT_THAT(no_vmm->report().ReasonAgainst(kCapabilityVmm),
              HasSubstr("configuration"));
  EXPECT_TRUE(no_vmm->report().Has(kCapabilityIpc));
  EXPECT_THAT(no_vmm->Allocate(kBytes, ExportMode::kVmm),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("vmm")));
  const auto by_handle = no_vmm->Allocate(kBytes, ExportMode::kAuto);
  ASSERT_THAT(by_handle, IsOk());
  EXPECT_EQ((*by_handle)->Export()->kind, ExportedMemory::Kind::kHandle);
  Bytes bytes(kBytes);
  EXPECT_THAT(no_vmm->RegisterHost(bytes.data(), kBytes, true),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(no_vmm->RegisterHost(bytes.data(), kBytes, false), IsOk());

  options.missing = {kCapabilityVmm};
  options.directory.clear();
  EXPECT_THAT(
      Open(options)->Allocate(kBytes, ExportMode::kAuto),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("no directory")));
  options.missing = {"wings"};
  EXPECT_THAT(OpenEmulated(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("wings")));
}

// Goal: the file behind a handle is its owner's alone and goes with the memory.
TEST_F(EmulatedMemoryTest, KeepsAFileForItsHandle) {
  auto memory = device_->Allocate(kBytes, ExportMode::kIpc);
  ASSERT_THAT(memory, IsOk());
  ASSERT_EQ(FileCount(), 1u);
  struct stat file;
  const auto entry = *std::filesystem::directory_iterator(directory_.path());
  ASSERT_EQ(::stat(entry.path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0600u);
  EXPECT_EQ(file.st_size, static_cast<off_t>(kBytes));
  memory->reset();
  EXPECT_EQ(FileCount(), 0u);
}

// Goal: files of owners that were killed are cleared away, those of living ones
//       are left, when a device is opened on the directory.
// Method: a file as a killed process leaves it: without a lock.
TEST_F(EmulatedMemoryTest, ClearsAwayWhatDeadOwnersLeft) {
  const auto memory = device_->Allocate(kBytes, ExportMode::kIpc);
  ASSERT_THAT(memory, IsOk());
  const std::string own =
      std::filesystem::directory_iterator(directory_.path())->path();
  std::filesystem::copy_file(own, own + "0");
  std::filesystem::copy_file(own, directory_ / "something-else");
  ASSERT_EQ(FileCount(), 3u);
  EXPECT_THAT(OpenAgain(), IsOk());
  EXPECT_TRUE(std::filesystem::exists(own));
  EXPECT_FALSE(std::filesystem::exists(own + "0"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "something-else"));
}

TEST_F(EmulatedMemoryTest, SaysThatADirectoryIsNotThere) {
  EmulatedOptions options;
  options.directory = directory_ / "missing";
  EXPECT_THAT(OpenEmulated(options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
}

// Goal: memory that could be cut short under its importer is refused.
// Method: a memfd without seals, and more bytes than there are.
TEST_F(EmulatedMemoryTest, RefusesDescriptorsThatAreNotItsMemory) {
  const auto memory = device_->Allocate(kBytes, ExportMode::kVmm);
  ASSERT_THAT(memory, IsOk());
  auto exported = (*memory)->Export();
  ASSERT_THAT(exported, IsOk());
  exported->owner_pid = 1;
  exported->bytes = kBytes + 1;
  EXPECT_THAT(device_->Import(*exported),
              StatusIs(absl::StatusCode::kInvalidArgument));
  exported->bytes = kBytes;
  exported->fd.reset(::memfd_create("plain", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(exported->fd.get(), kBytes), 0);
  EXPECT_THAT(device_->Import(*exported),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not of an emulated device's memory")));
}

}  // namespace
}  // namespace kvferry::gpu
