#include "daemon/gpu/memory_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "daemon/memory/sealed_memfd.h"
#include "protocol/gpu_name.h"
#include "tests/support/status_matchers.h"

namespace kvferry::gpu_worker {
namespace {

using protocol::WorkerCommand;
using protocol::WorkerCommandType;
using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

constexpr uint64_t kPool = 5;
constexpr uint64_t kSegment = 9;
constexpr uint64_t kPoolBytes = 64 * 1024;
constexpr uint64_t kSegmentBytes = 32 * 1024;

class MemoryTableTest : public testing::Test {
 protected:
  void SetUp() override {
    auto device = gpu::OpenDevice("emulated:11");
    ASSERT_THAT(device, IsOk());
    device_ = *std::move(device);
    table_ = std::make_unique<MemoryTable>(device_.get());
  }
  static UniqueFd SegmentFile() {
    auto file = memory::MakeSealedMemfd("segment", kSegmentBytes, 0600);
    EXPECT_THAT(file, IsOk());
    return file.ok() ? *std::move(file) : UniqueFd();
  }
  void MakeBoth() {
    ASSERT_THAT(table_->MakePool(kPool, kPoolBytes, gpu::ExportMode::kAuto),
                IsOk());
    ASSERT_THAT(table_->AddSegment(kSegment, kSegmentBytes, SegmentFile()),
                IsOk());
  }
  static WorkerCommand Command() {
    WorkerCommand command{};
    command.type = WorkerCommandType::kCopyToHost;
    command.pool_id = kPool;
    command.segment_id = kSegment;
    command.bytes = 4096;
    return command;
  }

  std::unique_ptr<gpu::Device> device_;
  std::unique_ptr<MemoryTable> table_;
};

TEST_F(MemoryTableTest, APoolIsExportedAsAskedFor) {
  const auto exported =
      table_->MakePool(kPool, kPoolBytes, gpu::ExportMode::kVmm);

  ASSERT_THAT(exported, IsOk());
  EXPECT_EQ(exported->kind, gpu::ExportedMemory::Kind::kDescriptor);
  EXPECT_GE(exported->bytes, kPoolBytes);
  EXPECT_THAT(table_->MakePool(kPool, kPoolBytes, gpu::ExportMode::kVmm),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(MemoryTableTest, ASegmentIsRegisteredWithTheDevice) {
  const auto added = table_->AddSegment(kSegment, kSegmentBytes, SegmentFile());

  ASSERT_THAT(added, IsOk());
  EXPECT_TRUE(added->registered);
  EXPECT_EQ(added->note, "");
  EXPECT_THAT(table_->AddSegment(kSegment, kSegmentBytes, SegmentFile()),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(table_->AddSegment(1, 2 * kSegmentBytes, SegmentFile()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MemoryTableTest, BothWaysAreResolved) {
  MakeBoth();
  WorkerCommand command = Command();
  command.pool_offset = 4096;
  command.segment_offset = 8192;

  const auto out = table_->Resolve(command);
  command.type = WorkerCommandType::kCopyToDevice;
  const auto in = table_->Resolve(command);

  ASSERT_THAT(out, IsOk());
  ASSERT_THAT(in, IsOk());
  EXPECT_EQ(out->bytes, 4096u);
  EXPECT_EQ(out->target, in->source);
  EXPECT_EQ(out->source, in->target);
}

// Goal    No command reaches beyond its memories, whatever it says.
// Method  The last bytes, and one more of each; numbers that overflow.
TEST_F(MemoryTableTest, WhatIsOutOfBoundsIsRefused) {
  MakeBoth();
  const auto resolve = [&](uint64_t pool_offset, uint64_t segment_offset,
                           uint64_t bytes) {
    WorkerCommand command = Command();
    command.pool_offset = pool_offset;
    command.segment_offset = segment_offset;
    command.bytes = bytes;
    return table_->Resolve(command).status();
  };
  const auto refused = StatusIs(absl::StatusCode::kInvalidArgument);

  EXPECT_THAT(resolve(kPoolBytes - 4096, kSegmentBytes - 4096, 4096), IsOk());
  EXPECT_THAT(resolve(kPoolBytes - 4095, 0, 4096), refused);
  EXPECT_THAT(resolve(0, kSegmentBytes - 4095, 4096), refused);
  EXPECT_THAT(resolve(0, 0, kSegmentBytes + 1), refused);
  EXPECT_THAT(resolve(UINT64_MAX, 0, 4096), refused);
  EXPECT_THAT(resolve(UINT64_MAX - 4095, 0, 4096), refused);
  EXPECT_THAT(resolve(0, UINT64_MAX - 4095, 4096), refused);
  EXPECT_THAT(resolve(0, 0, UINT64_MAX), refused);
  EXPECT_THAT(resolve(0, 0, 0), refused);
}

TEST_F(MemoryTableTest, WhatIsNotThereIsRefused) {
  MakeBoth();
  WorkerCommand command = Command();
  command.pool_id = kSegment;
  EXPECT_THAT(table_->Resolve(command),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("pool 9")));
  command = Command();
  command.segment_id = kPool;
  EXPECT_THAT(table_->Resolve(command),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("segment 5")));
  command = Command();
  command.type = static_cast<WorkerCommandType>(3);
  EXPECT_THAT(
      table_->Resolve(command),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("type 3")));

  table_->DropPool(kPool);

  EXPECT_THAT(table_->Resolve(Command()),
              StatusIs(absl::StatusCode::kNotFound));
}

// kvferryd cannot link the device's library, and must name its UUIDs.
TEST(EmulatedUuidTest, BothSidesNameTheSame) {
  for (const uint32_t number : {0u, 1u, 65536u, 0xffff'ffffu}) {
    EXPECT_EQ(gpu::EmulatedUuid(number), protocol::EmulatedGpuUuid(number));
    EXPECT_EQ(gpu::UuidToString(gpu::DeviceKind::kEmulated,
                                gpu::EmulatedUuid(number)),
              protocol::FormatGpuName(
                  protocol::GpuNameOf(gpu::EmulatedUuid(number))));
  }
}

}  // namespace
}  // namespace kvferry::gpu_worker
