// Memory that two processes share.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "tests/unit/gpu/device_fixture.h"
#include "tests/unit/gpu/device_peer.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::StatusIs;

constexpr uint64_t kBytes = uint64_t{2} << 20;

class DeviceProcessTest : public DeviceTest,
                          public testing::WithParamInterface<ExportMode> {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    const char* const capability =
        GetParam() == ExportMode::kVmm ? kCapabilityVmm : kCapabilityIpc;
    if (!device_->report().Has(capability)) {
      GTEST_SKIP() << "no " << capability << ": "
                   << device_->report().ReasonAgainst(capability);
    }
    peer_ = NewPeer();
  }

  std::unique_ptr<DevicePeer> NewPeer() const {
    auto peer = DevicePeer::Start(directory_.path());
    KVFERRY_CHECK(peer.ok());
    return *std::move(peer);
  }

  void Fill(const DeviceMemory& memory, uint64_t seed) {
    Upload(RandomBytes(memory.bytes(), seed), memory.address());
  }
  bool Has(const DeviceMemory& memory, uint64_t seed) {
    return Download(memory.address(), memory.bytes()) ==
           RandomBytes(memory.bytes(), seed);
  }

  std::unique_ptr<DevicePeer> peer_;
};

// Goal: memory that this process made and another imported is one memory.
// Method: bytes are handed over both ways.
TEST_P(DeviceProcessTest, SharesItsMemory) {
  const auto memory = device_->Allocate(kBytes, GetParam());
  ASSERT_THAT(memory, IsOk());
  Fill(**memory, 1);
  const auto exported = (*memory)->Export();
  ASSERT_THAT(exported, IsOk());
  ASSERT_THAT(peer_->Import(*exported), IsOk());
  EXPECT_THAT(peer_->Check(1), IsOk());
  ASSERT_THAT(peer_->Fill(2), IsOk());
  EXPECT_TRUE(Has(**memory, 2));
  ASSERT_THAT(peer_->Release(), IsOk());
  EXPECT_TRUE(Has(**memory, 2));
}

// Goal: memory that another process made is the device's here, and two imports
//       of it are two objects of the same bytes.
// Method: one is let go; the other goes on. Then it may not be passed on.
TEST_P(DeviceProcessTest, ImportsAnothersMemory) {
  const auto exported = peer_->Allocate(kBytes, GetParam());
  ASSERT_THAT(exported, IsOk());
  ASSERT_THAT(peer_->Fill(3), IsOk());
  auto first = device_->Import(*exported);
  ASSERT_THAT(first, IsOk());
  auto second = device_->Import(*exported);
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(Has(**first, 3));
  Fill(**first, 4);
  first->reset();
  EXPECT_TRUE(Has(**second, 4));
  EXPECT_THAT(peer_->Check(4), IsOk());
  EXPECT_THAT((*second)->Export(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

// Goal: any number of processes may import one memory.
// Method: three of them, each sees what the last one wrote.
TEST_P(DeviceProcessTest, SharesItsMemoryAmongMany) {
  const auto memory = device_->Allocate(kBytes, GetParam());
  ASSERT_THAT(memory, IsOk());
  const auto exported = (*memory)->Export();
  ASSERT_THAT(exported, IsOk());
  const auto second = NewPeer();
  const auto third = NewPeer();
  uint64_t seed = 10;
  Fill(**memory, seed);
  for (DevicePeer* const peer : {peer_.get(), second.get(), third.get()}) {
    ASSERT_THAT(peer->Import(*exported), IsOk());
    EXPECT_THAT(peer->Check(seed), IsOk());
    ASSERT_THAT(peer->Fill(++seed), IsOk());
  }
  EXPECT_TRUE(Has(**memory, seed));
}

// Goal: an importer that is killed takes nothing with it.
// Method: the owner's bytes stand, and the next importer sees them.
TEST_P(DeviceProcessTest, SurvivesADeadImporter) {
  const auto memory = device_->Allocate(kBytes, GetParam());
  ASSERT_THAT(memory, IsOk());
  const auto exported = (*memory)->Export();
  ASSERT_THAT(exported, IsOk());
  ASSERT_THAT(peer_->Import(*exported), IsOk());
  ASSERT_THAT(peer_->Fill(5), IsOk());
  peer_->Kill();
  EXPECT_TRUE(Has(**memory, 5));
  const auto next = NewPeer();
  ASSERT_THAT(next->Import(*exported), IsOk());
  EXPECT_THAT(next->Check(5), IsOk());
}

// Goal: what a handle names is gone with its owner; a descriptor keeps the
//       memory it stands for.
// Method: the owner is killed before the import.
TEST_P(DeviceProcessTest, SaysWhenTheOwnerIsGone) {
  const auto exported = peer_->Allocate(kBytes, GetParam());
  ASSERT_THAT(exported, IsOk());
  ASSERT_THAT(peer_->Fill(6), IsOk());
  peer_->Kill();
  const auto memory = device_->Import(*exported);
  if (GetParam() == ExportMode::kIpc) {
    EXPECT_FALSE(memory.ok());
    return;
  }
  ASSERT_THAT(memory, IsOk());
  EXPECT_TRUE(Has(**memory, 6));
}

// Goal: pages in another process's memory are gathered to by our kernels.
// Method: one dense page; the owner sees the engine's bytes.
TEST_P(DeviceProcessTest, GathersIntoAnothersMemory) {
  const auto exported = peer_->Allocate(kBytes, GetParam());
  ASSERT_THAT(exported, IsOk());
  const auto pool = device_->Import(*exported);
  ASSERT_THAT(pool, IsOk());
  const auto engine = NewMemory((*pool)->bytes());
  Fill(*engine, 7);
  EngineLayout layout;
  layout.group = OpaqueGroup(16, engine->bytes());
  layout.layers = {{engine->address(), 0, static_cast<int64_t>(engine->bytes()),
                    layout.group.head_bytes, 0}};
  layout.block_count = 1;
  const auto prepared = device_->Prepare(layout);
  ASSERT_THAT(prepared, IsOk());
  const PageTransfer page{0, (*pool)->address(), 0, 0};
  ASSERT_THAT(device_->Gather(**prepared, {}, {&page, 1}, stream_->native()),
              IsOk());
  ASSERT_THAT(Finish(stream_->native()), IsOk());
  EXPECT_THAT(peer_->Check(7), IsOk());
}

INSTANTIATE_TEST_SUITE_P(Modes, DeviceProcessTest,
                         testing::Values(ExportMode::kVmm, ExportMode::kIpc),
                         [](const auto& mode) {
                           return std::string(mode.param == ExportMode::kVmm
                                                  ? "Descriptor"
                                                  : "Handle");
                         });

}  // namespace
}  // namespace kvferry::gpu
