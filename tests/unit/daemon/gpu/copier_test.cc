#include "daemon/gpu/copier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "gpu/emulated/control.h"
#include "tests/support/becomes.h"
#include "tests/support/status_matchers.h"

namespace kvferry::gpu_worker {
namespace {

using protocol::WorkerCommandType;
using protocol::WorkerCompletion;
using test::Becomes;
using test::IsOk;
using test::StatusIs;

constexpr uint32_t kDevice = 12;
constexpr uint64_t kBytes = 4096;
constexpr size_t kBlocks = 400;

// Copies between an emulated device's memory and plain memory.
class CopierTest : public testing::Test {
 protected:
  void SetUp() override {
    auto device = gpu::OpenDevice("emulated:12");
    ASSERT_THAT(device, IsOk());
    device_ = *std::move(device);
    auto memory = device_->AllocatePrivate(kBlocks * kBytes);
    ASSERT_THAT(memory, IsOk());
    memory_ = *std::move(memory);
    auto copier = Copier::Make(device_.get());
    ASSERT_THAT(copier, IsOk());
    copier_ = *std::move(copier);
    host_.resize(kBlocks * kBytes);
  }

  void Add(uint64_t id, WorkerCommandType direction, size_t block) {
    std::byte* const host = host_.data() + block * kBytes;
    std::byte* const device = memory_->address() + block * kBytes;
    copier_->Add(id, direction,
                 direction == WorkerCommandType::kCopyToHost
                     ? gpu::Copy{host, device, kBytes}
                     : gpu::Copy{device, host, kBytes});
  }
  // Until that many are done.
  void WorkUntil(size_t count) {
    ASSERT_TRUE(Becomes([&] {
      copier_->DoWork(&completions_);
      return completions_.size() >= count;
    }));
  }

  std::unique_ptr<gpu::Device> device_;
  std::unique_ptr<gpu::DeviceMemory> memory_;
  std::unique_ptr<Copier> copier_;
  std::vector<std::byte> host_;
  std::vector<WorkerCompletion> completions_;
};

TEST_F(CopierTest, ManyBlocksGoThereAndBack) {
  for (size_t i = 0; i < host_.size(); ++i) {
    host_[i] = static_cast<std::byte>(i * 7 + i / kBytes);
  }
  const std::vector<std::byte> before = host_;
  for (size_t i = 0; i < kBlocks; ++i) {
    Add(i + 1, WorkerCommandType::kCopyToDevice, i);
  }
  WorkUntil(kBlocks);
  std::fill(host_.begin(), host_.end(), std::byte{0});
  for (size_t i = 0; i < kBlocks; ++i) {
    Add(kBlocks + i + 1, WorkerCommandType::kCopyToHost, i);
  }
  WorkUntil(2 * kBlocks);

  EXPECT_EQ(host_, before);
  EXPECT_FALSE(copier_->busy());
  // Each once, in order within a direction.
  for (size_t i = 0; i < completions_.size(); ++i) {
    EXPECT_EQ(completions_[i].id, i + 1);
    EXPECT_EQ(completions_[i].ok, 1u);
  }
}

// Goal    A direction that hangs does not hold the other one up, and the number
//         of batches queued is bounded.
// Method  The device hangs in the first copy to the host.
TEST_F(CopierTest, OneDirectionDoesNotWaitForTheOther) {
  gpu::EmulatedControl control(kDevice);
  control.HangWork();
  Add(1, WorkerCommandType::kCopyToHost, 0);
  copier_->DoWork(&completions_);
  control.WaitUntilHung();
  for (size_t i = 0; i < kBlocks; ++i) {
    Add(2 + i, WorkerCommandType::kCopyToHost, i);
  }
  Add(1000, WorkerCommandType::kCopyToDevice, 1);

  WorkUntil(1);

  EXPECT_EQ(completions_[0].id, 1000u);
  EXPECT_TRUE(copier_->busy());
  control.Release();
  WorkUntil(kBlocks + 2);
  EXPECT_FALSE(copier_->busy());
}

// Goal    A device that breaks fails everything that is not done, and is known
//         to be broken.
// Method  The first batch fails; others are queued behind it and not yet.
TEST_F(CopierTest, ABrokenDeviceFailsWhatIsUnderWay) {
  gpu::EmulatedControl control(kDevice);
  control.FailWork();
  for (size_t i = 0; i < kBlocks; ++i) {
    Add(i + 1, WorkerCommandType::kCopyToHost, i);
  }

  WorkUntil(kBlocks);

  EXPECT_EQ(completions_.size(), kBlocks);
  for (const WorkerCompletion& completion : completions_) {
    EXPECT_EQ(completion.ok, 0u);
    EXPECT_NE(completion.error, 0u);
  }
  EXPECT_THAT(copier_->device_status(),
              StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace kvferry::gpu_worker
