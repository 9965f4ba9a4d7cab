#ifndef KVFERRY_TESTS_UNIT_DAEMON_CORE_GPU_FIXTURE_H_
#define KVFERRY_TESTS_UNIT_DAEMON_CORE_GPU_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/unit/daemon/core/core_fixture.h"

namespace kvferry::core {

// A namespace of one group with one GPU pool, of device 0, and its worker.
class GpuFixture : public CoreFixture {
 protected:
  static constexpr uint32_t kPool = 1;
  static constexpr uint32_t kDevice = 0;

  // The pool has memory from the start. Blocks are 4 KiB.
  void MakeGpu(uint32_t host_blocks, uint32_t gpu_blocks,
               const GpuPolicy& policy = {}) {
    MakeWith(host_blocks, 1, {{.bytes = uint64_t{gpu_blocks} * 4096}}, policy);
    core_->PoolUp(kPool, now_ms_);
  }
  // A session that has opened the device.
  std::unique_ptr<TestSession> GpuSession(uint16_t number) {
    auto session = Session(number);
    EXPECT_THAT(core_->SetSessionGpu(number, kDevice), test::IsOk());
    session->now_ms = now_ms_;
    return session;
  }
  static absl::Status BeginGpu(TestSession& session, uint32_t handle,
                               uint32_t first,
                               const std::vector<BlockKey>& keys,
                               const std::vector<uint32_t>& blocks = {},
                               BlockKey parent = {}) {
    return session.Begin(handle, first, keys, blocks, parent, 0, 0, kPool);
  }
  // Publishes a chain of keys into the pool and returns the blocks it was
  // given; what is behind is not done yet.
  std::vector<uint32_t> PublishGpu(TestSession& session, uint32_t handle,
                                   const std::vector<BlockKey>& keys,
                                   BlockKey parent = {}) {
    const size_t before = session.AnsweredBlocks().size();
    session.now_ms = now_ms_;
    EXPECT_THAT(session.Open(handle, 1000 + handle), test::IsOk());
    for (uint32_t i = 0; i < keys.size(); ++i) {
      EXPECT_THAT(BeginGpu(session, handle, i, {keys[i]}, {}, parent),
                  test::IsOk());
      EXPECT_THAT(session.Commit(handle, i, 1), test::IsOk());
      parent = keys[i];
    }
    EXPECT_THAT(session.Close(handle), test::IsOk());
    std::vector<uint32_t> blocks = session.AnsweredBlocks();
    blocks.erase(blocks.begin(),
                 blocks.begin() + static_cast<std::ptrdiff_t>(before));
    return blocks;
  }

  // What the worker is given, at most `room`.
  std::vector<CopyOrder> Take(size_t room = 1000) {
    std::vector<CopyOrder> orders;
    core_->TakeCopies(kDevice, room, &orders);
    return orders;
  }
  void Done(const CopyOrder& order, bool ok = true) {
    core_->CopyDone(order.id, ok, now_ms_);
  }
  // The worker copies whatever there is.
  void CopyAll() {
    for (const CopyOrder& order : Take()) Done(order);
  }
  void TickAt(uint64_t now_ms) {
    now_ms_ = now_ms;
    core_->Tick(now_ms);
  }

  bool GpuReady(const BlockKey& key) const {
    return FindGpu(key).state == protocol::ResidenceState::kReady;
  }
  bool Gone(const BlockKey& key) const {
    return Find(key).state == protocol::ResidenceState::kFree &&
           FindGpu(key).state == protocol::ResidenceState::kFree;
  }
  GpuPoolCounts Pool() const { return core_->gpu_counts(kPool); }
  uint32_t incarnation() const {
    return index_->At<protocol::IndexHeader>(0)->gpu_pools[0].incarnation;
  }
  bool InPool(uint32_t block) const { return block >= geometry_.host_blocks; }
  void ExpectSound() const {
    EXPECT_THAT(core_->CheckInvariants(), test::IsOk());
  }

  uint64_t now_ms_ = 0;
};

}  // namespace kvferry::core

#endif  // KVFERRY_TESTS_UNIT_DAEMON_CORE_GPU_FIXTURE_H_
