#ifndef KVFERRY_TESTS_UNIT_GPU_EMULATED_FIXTURE_H_
#define KVFERRY_TESTS_UNIT_GPU_EMULATED_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>

#include "gpu/emulated/control.h"
#include "tests/unit/gpu/device_fixture.h"

namespace kvferry::gpu {

// emulated:0, and what can be done to it. Skipped where the tests are to run on
// CUDA.
class EmulatedTest : public DeviceTest {
 protected:
  void SetUp() override {
    KVFERRY_EMULATED_ONLY();
    DeviceTest::SetUp();
  }

  std::unique_ptr<Device> Open(const EmulatedOptions& options) {
    auto device = OpenEmulated(options);
    KVFERRY_CHECK(device.ok());
    return *std::move(device);
  }

  static constexpr uint64_t kBytes = 4096;

  // Copies kBytes.
  absl::Status CopyOn(void* stream, std::byte* target,
                      const std::byte* source) {
    const Copy copy{target, source, kBytes};
    return device_->CopyAsync({&copy, 1}, stream);
  }

  // Of memory that is exported by handle.
  uint64_t FileCount() const {
    uint64_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator(directory_.path())) {
      ++count;
    }
    return count;
  }

  EmulatedControl control_{0};
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_TESTS_UNIT_GPU_EMULATED_FIXTURE_H_
