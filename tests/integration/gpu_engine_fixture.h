#ifndef KVFERRY_TESTS_INTEGRATION_GPU_ENGINE_FIXTURE_H_
#define KVFERRY_TESTS_INTEGRATION_GPU_ENGINE_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kvferry/admin.h"
#include "tests/integration/gpu_engine.h"
#include "tests/integration/gpu_peer.h"
#include "tests/support/becomes.h"
#include "tests/support/daemon_process.h"
#include "tests/support/small_daemon.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_device.h"

namespace kvferry::test {

// A daemon that serves the test device, and engines in this process and others.
class GpuEngineTest : public testing::Test {
 protected:
  void StartDaemon(const std::string& gpu_pool = "8MiB",
                   const std::vector<std::string>& extra = {}) {
    std::vector<std::string> flags = GpuDaemonFlags(gpu_pool);
    flags.insert(flags.end(), extra.begin(), extra.end());
    DaemonProcess::Options options = SmallDaemon(flags);
    options.pool_size = "64MiB";
    auto daemon = DaemonProcess::Start(std::move(options));
    ASSERT_THAT(daemon, IsOk());
    daemon_ = *std::move(daemon);
  }
  void TearDown() override {
    if (daemon_ == nullptr) return;
    EXPECT_TRUE(daemon_->running()) << daemon_->log();
    EXPECT_EQ(daemon_->Stop(), 0) << daemon_->log();
    if (HasFailure()) GTEST_LOG_(INFO) << daemon_->log();
  }

  GpuEngine::Options On(uint32_t group, EngineOrder order) const {
    GpuEngine::Options options;
    options.socket_path = daemon_->socket_path();
    options.group = group;
    options.order = order;
    return options;
  }
  std::unique_ptr<GpuEngine> Engine(const GpuEngine::Options& options) {
    auto engine = GpuEngine::Start(options);
    EXPECT_THAT(engine, IsOk()) << daemon_->log();
    return engine.ok() ? *std::move(engine) : nullptr;
  }
  std::unique_ptr<GpuPeer> Peer(const GpuEngine::Options& options) {
    auto peer = GpuPeer::Start(options);
    EXPECT_THAT(peer, IsOk()) << daemon_->log();
    return peer.ok() ? *std::move(peer) : nullptr;
  }

  // The daemon's one GPU as operators see it.
  GpuStatus Status() {
    auto admin =
        AdminClient::Connect(daemon_->socket_path(), absl::Seconds(10));
    EXPECT_THAT(admin, IsOk());
    if (!admin.ok()) return {};
    auto gpus = (*admin)->Gpus();
    EXPECT_THAT(gpus, IsOk());
    if (!gpus.ok() || gpus->size() != 1) {
      ADD_FAILURE() << "not one GPU";
      return {};
    }
    return gpus->front();
  }
  GpuPoolStatus Pool(uint32_t group) {
    for (const GpuPoolStatus& pool : Status().pools) {
      if (pool.group_name == EngineSpec().groups[group].name) return pool;
    }
    return {};
  }
  // Everything in the group's pool has its copy in host memory.
  bool BecomesClean(uint32_t group) {
    return Becomes([&] {
      const GpuPoolStatus pool = Pool(group);
      return pool.not_clean == 0 && pool.publishing == 0;
    });
  }
  // Nothing is being written, copied, or rests: what is not free is a cached
  // block, or granted to a session that lives.
  bool BecomesQuiet(uint32_t group) {
    return Becomes(
        [&] {
          const GpuPoolStatus pool = Pool(group);
          return pool.incarnation % 2 == 1 && pool.publishing == 0 &&
                 pool.in_io == 0 && pool.quarantined == 0 &&
                 pool.resting == 0 && pool.not_clean == 0 &&
                 pool.free + pool.granted + pool.ready == pool.blocks;
        },
        absl::Seconds(20));
  }

  std::unique_ptr<DaemonProcess> daemon_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_GPU_ENGINE_FIXTURE_H_
