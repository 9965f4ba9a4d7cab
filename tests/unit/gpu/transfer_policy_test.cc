#include "gpu/transfer_policy.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace kvferry::gpu {
namespace {

constexpr TransferThresholds kThresholds = {
    .device_copy_run_bytes_min = 1000,
    .host_copy_run_bytes_min = 100,
    .copies_max = 10,
    .host_staged_bytes_min = 5000,
};

TransferMethod Choose(uint64_t run_bytes, uint64_t runs, PageSide side,
                      bool has_batched_copies = true) {
  return ChooseTransferMethod({run_bytes, runs, side, has_batched_copies},
                              kThresholds);
}

TEST(TransferPolicyTest, CopiesLongRunsOneByOne) {
  EXPECT_EQ(Choose(1000, 10, PageSide::kDevice),
            TransferMethod::kBatchedCopies);
  EXPECT_EQ(Choose(100, 10, PageSide::kHost), TransferMethod::kBatchedCopies);
}

TEST(TransferPolicyTest, LeavesShortAndManyRunsToTheKernel) {
  EXPECT_EQ(Choose(999, 10, PageSide::kDevice), TransferMethod::kKernel);
  EXPECT_EQ(Choose(1000, 11, PageSide::kDevice), TransferMethod::kKernel);
  EXPECT_EQ(Choose(99, 10, PageSide::kHost), TransferMethod::kKernel);
  EXPECT_EQ(Choose(100, 11, PageSide::kHost), TransferMethod::kKernel);
}

TEST(TransferPolicyTest, DoesWithoutBatchedCopies) {
  EXPECT_EQ(Choose(1000, 1, PageSide::kDevice, false), TransferMethod::kKernel);
  EXPECT_EQ(Choose(100, 1, PageSide::kHost, false), TransferMethod::kKernel);
}

TEST(TransferPolicyTest, StagesMuchForTheHost) {
  EXPECT_EQ(Choose(50, 99, PageSide::kHost), TransferMethod::kKernel);
  EXPECT_EQ(Choose(50, 100, PageSide::kHost), TransferMethod::kStaged);
  EXPECT_EQ(Choose(50, 100, PageSide::kDevice), TransferMethod::kKernel);
}

TEST(TransferPolicyTest, StagesWhatNoKernelReaches) {
  EXPECT_EQ(Choose(1, 1, PageSide::kHostUnregistered), TransferMethod::kStaged);
  EXPECT_EQ(Choose(1000, 1, PageSide::kHostUnregistered),
            TransferMethod::kStaged);
}

// Goal: the thresholds in use are in an order that makes sense: a copy of its
//       own pays off earlier on the way to the host than within the device.
TEST(TransferPolicyTest, HasThresholdsInOrder) {
  EXPECT_LE(kTransferThresholds.host_copy_run_bytes_min,
            kTransferThresholds.device_copy_run_bytes_min);
  EXPECT_GT(kTransferThresholds.copies_max, 0u);
}

}  // namespace
}  // namespace kvferry::gpu
