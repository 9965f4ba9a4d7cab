#ifndef KVFERRY_TESTS_UNIT_SDK_GPU_PULL_FIXTURE_H_
#define KVFERRY_TESTS_UNIT_SDK_GPU_PULL_FIXTURE_H_

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/gpu/gpu_fixture.h"

namespace kvferry::sdk {

inline constexpr std::byte kUntouched{0xee};

// Pulls into an engine's memory on the engine's own stream.
class PullTest : public GpuFixture {
 protected:
  GpuPull Pull(const Engine& engine, std::span<const uint64_t> blocks,
               uint32_t group = 0, uint32_t last_tokens = 0) {
    return {.group = group,
            .memory = engine.memory.get(),
            .first = 0,
            .engine_blocks = blocks,
            .last_tokens = last_tokens};
  }
  absl::StatusOr<GpuTransfer> PullTo(PinnedPrefix* prefix, const GpuPull& pull,
                                     uint32_t layers_a_piece = 0) {
    return gpu_->PullTo(prefix, {&pull, 1}, stream(),
                        {.layers_a_piece = layers_a_piece});
  }
  // Queues a copy of the engine's bytes to `to`, on the engine's stream.
  void CopyOfEngine(const Engine& engine, std::vector<std::byte>* to) {
    to->resize(engine.bytes.size());
    const gpu::Copy copy{to->data(), engine.bytes.data(), engine.bytes.size()};
    ASSERT_THAT(device_->CopyAsync({&copy, 1}, stream()), test::IsOk());
  }
  void FinishEngine() {
    auto event = device_->CreateEvent();
    ASSERT_THAT(event, test::IsOk());
    ASSERT_THAT(device_->Record(event->get(), stream()), test::IsOk());
    ASSERT_THAT(device_->Synchronize(**event), test::IsOk());
  }
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_TESTS_UNIT_SDK_GPU_PULL_FIXTURE_H_
