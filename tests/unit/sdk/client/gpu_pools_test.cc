#include "sdk/gpu_pools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using protocol::wire::GpuExport;
using protocol::wire::GpuPoolChangedT;
using test::FakeNamespace;
using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;

// Memory without bytes, which counts itself.
class FakeMemory : public gpu::DeviceMemory {
 public:
  FakeMemory(uint64_t bytes, int* alive) : alive_(alive) {
    bytes_ = bytes;
    ++*alive_;
  }
  ~FakeMemory() override { --*alive_; }
  absl::StatusOr<gpu::ExportedMemory> Export() const override {
    return absl::FailedPreconditionError("imported");
  }

 private:
  int* const alive_;
};

// A device that imports anything and does nothing.
class FakeDevice : public gpu::Device {
 public:
  explicit FakeDevice(uint8_t number) { report_.uuid[15] = number; }

  const gpu::DeviceReport& report() const override { return report_; }
  absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> Import(
      const gpu::ExportedMemory& exported) override {
    last_kind = exported.kind;
    last_pid = exported.owner_pid;
    if (!import_error.ok()) return import_error;
    return std::make_unique<FakeMemory>(exported.bytes, &alive);
  }
  absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> Allocate(
      uint64_t, gpu::ExportMode) override {
    return kNone;
  }
  absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> AllocatePrivate(
      uint64_t) override {
    return kNone;
  }
  absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> RegisterHost(
      std::byte*, uint64_t, bool) override {
    return kNone;
  }
  absl::StatusOr<std::unique_ptr<gpu::Stream>> CreateStream() override {
    return kNone;
  }
  absl::StatusOr<std::unique_ptr<gpu::Event>> CreateEvent() override {
    return kNone;
  }
  absl::Status Record(gpu::Event*, void*) override { return kNone; }
  absl::Status StreamWait(void*, const gpu::Event&) override { return kNone; }
  absl::StatusOr<bool> IsDone(const gpu::Event&) override { return kNone; }
  absl::Status Synchronize(const gpu::Event&) override { return kNone; }
  absl::StatusOr<bool> IsCapturing(void*) override { return kNone; }
  absl::Status CopyAsync(std::span<const gpu::Copy>, void*) override {
    return kNone;
  }
  absl::StatusOr<std::unique_ptr<gpu::PreparedLayout>> Prepare(
      gpu::EngineLayout) override {
    return kNone;
  }
  absl::Status Gather(const gpu::PreparedLayout&, gpu::LayerRange,
                      std::span<const gpu::PageTransfer>, void*) override {
    return kNone;
  }
  absl::Status Scatter(const gpu::PreparedLayout&, gpu::LayerRange,
                       std::span<const gpu::PageTransfer>, void*) override {
    return kNone;
  }

  gpu::DeviceReport& own_report() { return report_; }

  int alive = 0;
  absl::Status import_error;
  gpu::ExportedMemory::Kind last_kind = gpu::ExportedMemory::Kind::kNone;
  int last_pid = 0;

 private:
  const absl::Status kNone = absl::UnimplementedError("none");
  gpu::DeviceReport report_;
};

// Group 0 has 64 host blocks of 64 bytes, group 1 has 32; pool 1 (blocks 96 to
// 127) is group 0's on device 0, pool 2 (128 to 143) group 1's there, pool 3
// (144 to 175) group 0's on device 1.
class GpuPoolsTest : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = 32 * 64;

  static GpuPoolChangedT Memory(uint8_t pool, uint32_t incarnation) {
    GpuPoolChangedT changed;
    changed.pool = pool;
    changed.incarnation = incarnation;
    changed.export_ = GpuExport::Handle;
    changed.handle = {1, 2, 3};
    changed.bytes = kBytes;
    changed.worker_pid = 4711;
    return changed;
  }
  static GpuPoolChangedT Gone(uint8_t pool, uint32_t incarnation) {
    GpuPoolChangedT changed;
    changed.pool = pool;
    changed.incarnation = incarnation;
    changed.reason = "the worker died";
    return changed;
  }
  void Open() {
    pools_.SetDevice(device_);
    pools_.SetNumber(0);
  }
  size_t Reclaim(bool pinned = false) {
    return pools_.Reclaim([pinned](uint32_t, uint32_t) { return pinned; });
  }

  FakeNamespace fake_{
      {{.block_count = 64}, {.block_count = 32, .blocks_per_segment = 32}},
      /*map_segments=*/true,
      {{.group = 0, .device = 0, .block_count = 32},
       {.group = 1, .device = 0, .block_count = 16},
       {.group = 0, .device = 1, .block_count = 32}}};
  const std::shared_ptr<FakeDevice> device_ = std::make_shared<FakeDevice>(0);
  GpuPools pools_{fake_.memory().index};
};

TEST_F(GpuPoolsTest, ABlocksNumberSaysWhereItIs) {
  EXPECT_EQ(pools_.pool_count(), 3);
  for (const uint32_t host : {0u, 95u}) EXPECT_EQ(pools_.PoolOf(host), 0);
  EXPECT_EQ(pools_.PoolOf(96), 1);
  EXPECT_EQ(pools_.PoolOf(127), 1);
  EXPECT_EQ(pools_.PoolOf(128), 2);
  EXPECT_EQ(pools_.PoolOf(175), 3);
  EXPECT_EQ(pools_.PoolOf(176), 0);
  EXPECT_EQ(pools_.PoolOf(protocol::kNoBlock), 0);
  EXPECT_EQ(pools_.OffsetOf(96), 0);
  EXPECT_EQ(pools_.OffsetOf(130), 128);
  EXPECT_TRUE(pools_.map().InGpu(1, 128));
  EXPECT_FALSE(pools_.map().InGpu(0, 128));
  EXPECT_FALSE(pools_.map().InGpu(0, 5));
}

TEST_F(GpuPoolsTest, WithoutADeviceNothingIsUsed) {
  EXPECT_FALSE(pools_.used());
  EXPECT_FALSE(pools_.AnyReachable());
  EXPECT_EQ(pools_.OwnPool(0), 0);
  EXPECT_THAT(pools_.status(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("opened no device")));
  EXPECT_THAT(pools_.Take(Memory(1, 1), UniqueFd()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has no device")));
}

TEST_F(GpuPoolsTest, AProcessThatDecidesUsesEveryPoolWithMemory) {
  const GpuPools any(fake_.memory().index, ResidenceUse::kAny);
  fake_.SetIncarnation(2, 2);
  fake_.SetIncarnation(3, 5);
  EXPECT_TRUE(any.used());
  const UsablePools usable = any.Usable();
  EXPECT_FALSE(usable.gpu_first);
  EXPECT_EQ(usable.incarnation(1), 1);
  EXPECT_EQ(usable.incarnation(2), 0);
  EXPECT_EQ(usable.incarnation(3), 5);
  EXPECT_FALSE(any.Reachable(1));
}

TEST_F(GpuPoolsTest, MemoryIsImportedOnceItIsPassedOn) {
  Open();
  EXPECT_TRUE(pools_.used());
  EXPECT_EQ(pools_.OwnPool(0), 1);
  EXPECT_EQ(pools_.OwnPool(1), 2);
  EXPECT_THAT(pools_.status(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(pools_.Find(1), nullptr);

  ASSERT_THAT(pools_.Take(Memory(1, 1), UniqueFd()), IsOk());

  EXPECT_THAT(pools_.status(), IsOk());
  EXPECT_TRUE(pools_.Reachable(1));
  EXPECT_FALSE(pools_.Reachable(2));
  EXPECT_TRUE(pools_.AnyReachable());
  EXPECT_TRUE(pools_.Usable().gpu_first);
  EXPECT_EQ(pools_.Usable().incarnation(1), 1);
  EXPECT_EQ(pools_.Usable().incarnation(2), 0);
  const auto memory = pools_.Find(1);
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(memory->incarnation, 1);
  EXPECT_EQ(memory->memory->bytes(), kBytes);
  EXPECT_EQ(device_->last_kind, gpu::ExportedMemory::Kind::kHandle);
  EXPECT_EQ(device_->last_pid, 4711);
}

// Goal    The pool's record ends a memory, not the message about it.
TEST_F(GpuPoolsTest, ARecordThatMovedOnEndsItAtOnce) {
  Open();
  ASSERT_THAT(pools_.Take(Memory(1, 1), UniqueFd()), IsOk());

  fake_.SetIncarnation(1, 2);
  EXPECT_FALSE(pools_.Reachable(1));
  EXPECT_EQ(pools_.Find(1), nullptr);
  EXPECT_FALSE(pools_.Stands(1, 1));
  EXPECT_THAT(pools_.status(), StatusIs(absl::StatusCode::kUnavailable));

  fake_.SetIncarnation(1, 3);
  EXPECT_FALSE(pools_.Reachable(1));
  ASSERT_THAT(pools_.Take(Memory(1, 3), UniqueFd()), IsOk());
  EXPECT_EQ(pools_.Usable().incarnation(1), 3);
}

TEST_F(GpuPoolsTest, AMemoryThatIsGoneStaysWithItsUsers) {
  Open();
  ASSERT_THAT(pools_.Take(Memory(1, 1), UniqueFd()), IsOk());
  auto held = pools_.Find(1);
  fake_.SetIncarnation(1, 2);
  ASSERT_THAT(pools_.Take(Gone(1, 2), UniqueFd()), IsOk());
  EXPECT_THAT(pools_.status(), StatusIs(absl::StatusCode::kUnavailable,
                                        HasSubstr("the worker died")));

  EXPECT_EQ(Reclaim(), 1) << "held";
  held.reset();
  EXPECT_EQ(Reclaim(/*pinned=*/true), 1) << "pinned";
  EXPECT_EQ(device_->alive, 1);
  EXPECT_EQ(Reclaim(), 0);
  EXPECT_EQ(device_->alive, 0);
}

TEST_F(GpuPoolsTest, ReclaimAsksForThePoolsBlocks) {
  Open();
  ASSERT_THAT(pools_.Take(Memory(2, 1), UniqueFd()), IsOk());
  ASSERT_THAT(pools_.Take(Gone(2, 2), UniqueFd()), IsOk());
  std::vector<std::pair<uint32_t, uint32_t>> asked;
  pools_.Reclaim([&](uint32_t first, uint32_t count) {
    asked.emplace_back(first, count);
    return false;
  });
  EXPECT_THAT(asked, testing::ElementsAre(testing::Pair(128, 16)));
}

TEST_F(GpuPoolsTest, ANewMemoryTakesTheOldOnesPlace) {
  Open();
  ASSERT_THAT(pools_.Take(Memory(1, 1), UniqueFd()), IsOk());
  fake_.SetIncarnation(1, 3);
  ASSERT_THAT(pools_.Take(Memory(1, 3), UniqueFd()), IsOk());
  EXPECT_EQ(device_->alive, 2);
  EXPECT_EQ(Reclaim(), 0);
  EXPECT_EQ(device_->alive, 1);
  EXPECT_EQ(pools_.Find(1)->incarnation, 3);
}

TEST_F(GpuPoolsTest, WithTheDaemonEveryMemoryIsGone) {
  Open();
  ASSERT_THAT(pools_.Take(Memory(1, 1), UniqueFd()), IsOk());
  pools_.MarkLost();
  EXPECT_FALSE(pools_.Reachable(1));
  EXPECT_FALSE(pools_.Stands(1, 1));
  EXPECT_EQ(pools_.Usable().incarnation(1), 0);
}

TEST_F(GpuPoolsTest, ADeviceThatIsClosedLeavesNothing) {
  Open();
  ASSERT_THAT(pools_.Take(Memory(1, 1), UniqueFd()), IsOk());
  pools_.ClearDevice();
  EXPECT_FALSE(pools_.used());
  EXPECT_FALSE(pools_.Reachable(1));
  EXPECT_EQ(pools_.OwnPool(0), 0);
  EXPECT_EQ(pools_.device(), nullptr);
  EXPECT_EQ(Reclaim(), 0);
  EXPECT_EQ(device_->alive, 0);
}

// --- messages that make no sense, and devices that cannot ----------------

TEST_F(GpuPoolsTest, AnUnknownPoolIsRefused) {
  Open();
  for (const uint8_t pool : {0, 4, 255}) {
    EXPECT_THAT(pools_.Take(Memory(pool, 1), UniqueFd()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("the namespace has 3")))
        << int{pool};
  }
}

TEST_F(GpuPoolsTest, TooLittleMemoryIsRefused) {
  Open();
  GpuPoolChangedT changed = Memory(1, 1);
  changed.bytes = kBytes - 1;
  EXPECT_THAT(pools_.Take(changed, UniqueFd()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("with 2047 bytes, its 32 blocks need 2048")));
  EXPECT_FALSE(pools_.Reachable(1));
}

TEST_F(GpuPoolsTest, MemoryUnderAnEvenNumberIsRefused) {
  Open();
  EXPECT_THAT(
      pools_.Take(Memory(1, 2), UniqueFd()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("incarnation 2")));
}

TEST_F(GpuPoolsTest, AnotherKindOfDeviceIsRefused) {
  Open();
  GpuPoolChangedT changed = Memory(1, 1);
  changed.kind = protocol::wire::DeviceKind::Emulated;
  EXPECT_THAT(pools_.Take(changed, UniqueFd()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("of kind Emulated")));
}

TEST_F(GpuPoolsTest, AnotherDevicesMemoryNeedsPeerAccess) {
  Open();
  EXPECT_THAT(pools_.Take(Memory(3, 1), UniqueFd()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("another device's")));
  device_->own_report().capabilities.push_back(
      {.name = gpu::kCapabilityPeer, .available = true, .reason = ""});
  EXPECT_THAT(pools_.Take(Memory(3, 1), UniqueFd()), IsOk());
  EXPECT_TRUE(pools_.Reachable(3));
  EXPECT_EQ(pools_.OwnPool(0), 1) << "not the peer's";
}

TEST_F(GpuPoolsTest, AFailedImportIsKeptAsTheReason) {
  Open();
  device_->import_error = absl::UnavailableError("driver says no");
  EXPECT_THAT(
      pools_.Take(Memory(1, 1), UniqueFd()),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("driver says no")));
  EXPECT_THAT(pools_.status(), StatusIs(absl::StatusCode::kUnavailable,
                                        HasSubstr("driver says no")));
  pools_.SetRefusal(absl::PermissionDeniedError("may not publish"));
  EXPECT_THAT(pools_.status(), StatusIs(absl::StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace kvferry::sdk
