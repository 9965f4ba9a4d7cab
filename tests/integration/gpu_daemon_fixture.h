#ifndef KVFERRY_TESTS_INTEGRATION_GPU_DAEMON_FIXTURE_H_
#define KVFERRY_TESTS_INTEGRATION_GPU_DAEMON_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gpu/device.h"
#include "tests/support/becomes.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_client.h"
#include "tests/support/raw_gpu_session.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/small_daemon.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_device.h"

namespace kvferry::test {

namespace wire = protocol::wire;

inline constexpr uint64_t kBlockBytes = 4096;

// A daemon with one GPU, sessions that speak by hand, and this process's own
// view of the device.
class GpuDaemonTest : public testing::Test {
 protected:
  // `extra` go behind the flags of the test device.
  void StartDaemon(const std::vector<std::string>& extra = {},
                   mode_t folder_mode = 0700) {
    std::vector<std::string> flags = GpuDaemonFlags();
    flags.insert(flags.end(), extra.begin(), extra.end());
    DaemonProcess::Options options = SmallDaemon(flags);
    options.folder_mode = folder_mode;
    auto daemon = DaemonProcess::Start(options);
    ASSERT_THAT(daemon, IsOk());
    daemon_ = *std::move(daemon);
  }
  void TearDown() override {
    if (daemon_ == nullptr) return;
    EXPECT_TRUE(daemon_->running()) << daemon_->log();
    EXPECT_EQ(daemon_->Stop(), 0) << daemon_->log();
    if (HasFailure()) GTEST_LOG_(INFO) << daemon_->log();
  }

  std::unique_ptr<RawGpuSession> Attach(
      wire::Access access = wire::Access::Publish) {
    auto session =
        RawGpuSession::Attach(daemon_->socket_path(), SmallSpec(), access);
    EXPECT_THAT(session, IsOk()) << daemon_->log();
    if (!session.ok()) return nullptr;
    EXPECT_TRUE((*session)->WaitForSegments());
    return *std::move(session);
  }
  // Attached, with the device opened.
  std::unique_ptr<RawGpuSession> AttachWithGpu() {
    std::unique_ptr<RawGpuSession> session = Attach();
    if (session == nullptr) return nullptr;
    EXPECT_THAT(session->OpenGpu(TestDeviceUuid()), IsOk()) << daemon_->log();
    EXPECT_TRUE(session->session().Lock());
    return session;
  }

  // The daemon's one GPU as operators see it.
  wire::GpuStatusT Gpu() {
    auto client = RawClient::Connect(daemon_->socket_path());
    EXPECT_THAT(client, IsOk());
    auto message = client->Call(wire::GetGpusT());
    EXPECT_THAT(message, IsOk());
    if (!message.ok() || message->body.AsGpus()->gpus.size() != 1) {
      ADD_FAILURE() << "not one GPU";
      return {};
    }
    return *message->body.AsGpus()->gpus[0];
  }
  bool GpuBecomes(wire::GpuState state) {
    return Becomes([&] { return Gpu().state == state; });
  }
  // SIGKILL. Returns its pid.
  pid_t KillWorker() {
    const auto pid = static_cast<pid_t>(Gpu().worker_pid);
    EXPECT_NE(pid, 0);
    EXPECT_EQ(::kill(pid, SIGKILL), 0);
    return pid;
  }

  // --- memory ---

  // This process's own opening of the device.
  gpu::Device& Device() {
    if (device_ == nullptr) {
      auto device = gpu::OpenDevice(TestDeviceName());
      EXPECT_THAT(device, IsOk());
      device_ = *std::move(device);
    }
    return *device_;
  }
  std::unique_ptr<gpu::DeviceMemory> Import(const RawGpuSession::Pool& pool) {
    gpu::ExportedMemory exported;
    exported.kind = pool.changed.export_ == wire::GpuExport::Descriptor
                        ? gpu::ExportedMemory::Kind::kDescriptor
                        : gpu::ExportedMemory::Kind::kHandle;
    if (pool.fd.valid()) exported.fd.reset(::dup(pool.fd.get()));
    exported.handle = pool.changed.handle;
    exported.bytes = pool.changed.bytes;
    exported.owner_pid = static_cast<int>(pool.changed.worker_pid);
    auto memory = Device().Import(exported);
    EXPECT_THAT(memory, IsOk());
    return memory.ok() ? *std::move(memory) : nullptr;
  }
  // Between host memory and the device's, done when it returns.
  void CopyNow(std::byte* target, const std::byte* source) {
    auto stream = Device().CreateStream();
    auto event = Device().CreateEvent();
    ASSERT_THAT(stream, IsOk());
    ASSERT_THAT(event, IsOk());
    const gpu::Copy copy{target, source, kBlockBytes};
    ASSERT_THAT(Device().CopyAsync({&copy, 1}, (*stream)->native()), IsOk());
    ASSERT_THAT(Device().Record(event->get(), (*stream)->native()), IsOk());
    ASSERT_THAT(Device().Synchronize(**event), IsOk());
  }
  // Bytes that are a key's own.
  static std::vector<std::byte> PayloadOf(const BlockKey& key) {
    std::vector<std::byte> bytes(kBlockBytes);
    for (size_t i = 0; i < bytes.size(); i += sizeof(key)) {
      std::memcpy(bytes.data() + i, &key, sizeof(key));
      bytes[i] = static_cast<std::byte>(i / sizeof(key));
    }
    return bytes;
  }

  // Publishes the keys into pool 1 and commits them. What becomes of them is
  // the caller's to see.
  void PublishToGpu(RawGpuSession& session, const gpu::DeviceMemory& memory,
                    const std::vector<BlockKey>& keys) {
    const uint32_t handle = ++last_handle_;
    const auto blocks = session.Begin(handle, 1, keys);
    ASSERT_THAT(blocks, IsOk());
    for (size_t i = 0; i < keys.size(); ++i) {
      ASSERT_GE((*blocks)[i], session.index().host_blocks) << "spilled";
      const std::vector<std::byte> payload = PayloadOf(keys[i]);
      CopyNow(memory.address() + session.PoolOffset((*blocks)[i]),
              payload.data());
    }
    session.Commit(handle, static_cast<uint32_t>(keys.size()));
  }
  // Whether the host's copy of a key is what was published.
  static bool HostHolds(RawGpuSession& session, const BlockKey& key) {
    std::byte* bytes = nullptr;
    session.ReceiveUntil([&] {
      bytes = session.HostBytes(session.Host(key).block);
      return bytes != nullptr;
    });
    return bytes != nullptr &&
           std::memcmp(bytes, PayloadOf(key).data(), kBlockBytes) == 0;
  }
  // The same, published into the host's memory: what no worker's death may
  // disturb.
  void ExpectHostServes(RawGpuSession& session) {
    const std::vector<BlockKey> keys = FreshKeys(2);
    const uint32_t handle = ++last_handle_;
    ASSERT_THAT(session.Begin(handle, 0, keys), IsOk());
    session.Commit(handle, 2);
    EXPECT_TRUE(session.WaitForHost(keys[0]));
    EXPECT_TRUE(session.WaitForHost(keys[1]));
  }

  // --- workers ---

  // A program that is started in kvferry-gpu's place: a shell script. In it,
  // $GPU is the real one.
  std::string WriteWorker(const std::string& script) {
    const std::string path = scratch_ / "worker";
    std::ofstream(path) << "#!/bin/sh\nGPU=" << GpuWorkerProgramPath() << "\n"
                        << script << "\n";
    ::chmod(path.c_str(), 0700);
    return path;
  }

  ScratchDirectory scratch_;
  std::unique_ptr<DaemonProcess> daemon_;

 private:
  std::unique_ptr<gpu::Device> device_;
  uint32_t last_handle_ = 0;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_GPU_DAEMON_FIXTURE_H_
