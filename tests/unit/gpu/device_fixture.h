#ifndef KVFERRY_TESTS_UNIT_GPU_DEVICE_FIXTURE_H_
#define KVFERRY_TESTS_UNIT_GPU_DEVICE_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "gpu/device.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_device.h"

namespace kvferry::gpu {

using Bytes = std::vector<std::byte>;

inline Bytes RandomBytes(uint64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// The device under test (tests/support/test_device.h), opened anew for each
// test. What it says of the interface holds for every device.
class DeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Device>> device = OpenAgain();
    ASSERT_THAT(device, test::IsOk());
    device_ = *std::move(device);
    stream_ = NewStream();
  }

  // The same device once more, as another user in this process has it.
  absl::StatusOr<std::unique_ptr<Device>> OpenAgain() const {
    EmulatedOptions emulated;
    emulated.directory = directory_.path();
    return OpenDevice(test::TestDeviceName(), emulated);
  }

  std::unique_ptr<DeviceMemory> NewMemory(uint64_t bytes) {
    auto memory = device_->AllocatePrivate(bytes);
    KVFERRY_CHECK(memory.ok());
    return *std::move(memory);
  }
  std::unique_ptr<Stream> NewStream() {
    auto stream = device_->CreateStream();
    KVFERRY_CHECK(stream.ok());
    return *std::move(stream);
  }
  std::unique_ptr<Event> NewEvent() {
    auto event = device_->CreateEvent();
    KVFERRY_CHECK(event.ok());
    return *std::move(event);
  }

  // Waits for what the stream was given so far.
  absl::Status Finish(void* stream) {
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Event> event,
                             device_->CreateEvent());
    KVFERRY_RETURN_IF_ERROR(device_->Record(event.get(), stream));
    return device_->Synchronize(*event);
  }

  // Whole copies between the host and the device, done when they return.
  void Upload(const Bytes& bytes, std::byte* target) {
    const Copy copy{target, bytes.data(), bytes.size()};
    ASSERT_THAT(device_->CopyAsync({&copy, 1}, stream_->native()),
                test::IsOk());
    ASSERT_THAT(Finish(stream_->native()), test::IsOk());
  }
  Bytes Download(const std::byte* source, uint64_t count) {
    Bytes bytes(count);
    const Copy copy{bytes.data(), source, count};
    EXPECT_THAT(device_->CopyAsync({&copy, 1}, stream_->native()),
                test::IsOk());
    EXPECT_THAT(Finish(stream_->native()), test::IsOk());
    return bytes;
  }

  const test::ScratchDirectory directory_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_TESTS_UNIT_GPU_DEVICE_FIXTURE_H_
