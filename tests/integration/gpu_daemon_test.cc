#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/integration/gpu_daemon_fixture.h"

// What a client that speaks by hand sees of a daemon with a GPU: its pools, the
// copies that are made behind its back, who may have them.
namespace kvferry::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Goal    A pool is announced with memory that can be imported, and what is
//         published there comes to the host's memory by itself.
// Method  By descriptor and by handle. A block is written through the imported
//         memory, committed, and read in the segment.
class GpuExportTest : public GpuDaemonTest,
                      public testing::WithParamInterface<const char*> {};

TEST_P(GpuExportTest, WhatIsPublishedToThePoolComesToTheHost) {
  StartDaemon({"--gpu-export", GetParam()});
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const RawGpuSession::Pool& pool = session->pools().at(1);
  EXPECT_EQ(pool.changed.export_, std::string(GetParam()) == "vmm"
                                      ? wire::GpuExport::Descriptor
                                      : wire::GpuExport::Handle);
  EXPECT_EQ(pool.changed.incarnation, 1u);
  EXPECT_THAT(pool.changed.reason, IsEmpty());
  const auto memory = Import(pool);
  ASSERT_NE(memory, nullptr);
  const std::vector<BlockKey> keys = FreshKeys(3);

  PublishToGpu(*session, *memory, keys);

  for (const BlockKey& key : keys) {
    EXPECT_TRUE(session->WaitForGpu(key));
    ASSERT_TRUE(session->WaitForHost(key)) << daemon_->log();
    EXPECT_TRUE(HostHolds(*session, key));
    EXPECT_EQ(session->Gpu(key).state, protocol::ResidenceState::kReady);
  }
  const wire::GpuStatusT status = Gpu();
  EXPECT_EQ(status.copies_to_host, 3 * kBlockBytes);
  EXPECT_EQ(status.pools.at(0)->written_behind, 3u);
  EXPECT_EQ(status.pools.at(0)->not_clean, 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, GpuExportTest, testing::Values("vmm", "ipc"));

// Goal    What operators see of a device is what it is.
// Method  GetGpus and GetSessions, before and after a session opened it.
TEST_F(GpuDaemonTest, OperatorsSeeTheDeviceItsPoolsAndItsUsers) {
  StartDaemon();
  const auto bystander = Attach();
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));

  const wire::GpuStatusT status = Gpu();

  EXPECT_EQ(status.device, 0u);
  EXPECT_EQ(status.configured_as, TestDeviceName());
  EXPECT_EQ(status.state, wire::GpuState::Serving);
  EXPECT_THAT(status.reason, IsEmpty());
  EXPECT_NE(status.worker_pid, 0u);
  EXPECT_EQ(status.restarts, 0u);
  EXPECT_EQ(status.pool_bytes, uint64_t{4} << 20);
  EXPECT_EQ(status.used_bytes, uint64_t{4} << 20);
  EXPECT_FALSE(status.capabilities.empty());
  EXPECT_EQ(status.kind, TestsOnCuda() ? wire::DeviceKind::Cuda
                                       : wire::DeviceKind::Emulated);
  ASSERT_EQ(status.pools.size(), 1u);
  EXPECT_EQ(status.pools[0]->namespace_name, SmallSpec().name);
  EXPECT_EQ(status.pools[0]->blocks, 1024u);
  EXPECT_EQ(status.pools[0]->incarnation, 1u);
  EXPECT_EQ(status.pools[0]->high_blocks, 921u);
  EXPECT_EQ(status.pools[0]->low_blocks, 768u);
  EXPECT_THAT(status.pools[0]->reason, IsEmpty());
  ASSERT_EQ(status.imports.size(), 1u);
  EXPECT_EQ(status.imports[0]->session, session->session().attached.session);

  auto client = RawClient::Connect(daemon_->socket_path());
  auto message = client->Call(wire::GetSessionsT());
  ASSERT_THAT(message, IsOk());
  for (const auto& entry : message->body.AsSessions()->sessions) {
    EXPECT_EQ(entry->gpu,
              entry->session == session->session().attached.session ? 0 : -1);
  }
}

// Goal    Pools are in the namespace's geometry whether or not anybody opened
//         the device; only who did is told of memory.
// Method  The index of a session without the device, and its messages.
TEST_F(GpuDaemonTest, OnlySessionsThatOpenedTheDeviceAreTold) {
  StartDaemon();
  const auto bystander = Attach();
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));

  EXPECT_EQ(bystander->index().gpu_pool_count, 1u);
  EXPECT_EQ(bystander->index().gpu_pools[0].first_block,
            bystander->index().host_blocks);
  EXPECT_EQ(bystander->Incarnation(1), 1u);
  // What there is to say was said before the reply.
  ASSERT_TRUE(bystander->session().connection.Send(wire::MintTicketT()));
  wire::MessageT message;
  do {
    auto next = bystander->session().connection.Receive();
    ASSERT_THAT(next, IsOk());
    message = *std::move(next);
    EXPECT_EQ(message.body.AsGpuPoolChanged(), nullptr);
  } while (message.id == 0);
}

// Goal    A device that the daemon does not serve, and a UUID that is none, are
//         refused with what would be right; the session goes on.
// Method  OpenGpu with both, then with the right one.
TEST_F(GpuDaemonTest, AnotherDeviceIsRefused) {
  StartDaemon();
  const auto session = Attach();

  EXPECT_THAT(
      session->OpenGpu(protocol::EmulatedGpuUuid(7)),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("emulated:7"), HasSubstr(TestDeviceName()))));
  auto reply = session->session().connection.Call(wire::OpenGpuT());
  EXPECT_THAT(reply, StatusIs(absl::StatusCode::kInvalidArgument,
                              HasSubstr("0 bytes, not 16")));
  EXPECT_THAT(session->OpenGpu(TestDeviceUuid()), IsOk());
}

// Goal    GPU memory goes to users who may publish only, whatever they asked
// for
//         at their attach: who imports it can write it.
// Method  A reader of another user, and a session of the owner's that attached
//         to read.
TEST_F(GpuDaemonTest, WhoMayNotPublishGetsNoGpuMemory) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes somebody else";
  StartDaemon({"--allow-read", "*"}, /*folder_mode=*/0755);
  const auto owner = Attach();

  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::setresgid(kNobody, kNobody, kNobody) != 0 ||
        ::setresuid(kNobody, kNobody, kNobody) != 0) {
      ::_exit(100);
    }
    auto reader = RawGpuSession::Attach(daemon_->socket_path(), SmallSpec(),
                                        wire::Access::Read);
    if (!reader.ok()) ::_exit(1);
    if (!absl::IsPermissionDenied(
            (*reader)->OpenGpu(TestDeviceUuid()).status())) {
      ::_exit(2);
    }
    ::_exit((*reader)->pools().empty() ? 0 : 3);
  }
  int wait_status = 0;
  ASSERT_EQ(::waitpid(child, &wait_status, 0), child);
  EXPECT_TRUE(WIFEXITED(wait_status));
  EXPECT_EQ(WEXITSTATUS(wait_status), 0);

  const auto reader = Attach(wire::Access::Read);
  ASSERT_THAT(reader->OpenGpu(TestDeviceUuid()), IsOk());
  EXPECT_TRUE(reader->WaitForPool(1));
}

// Goal    A daemon without GPUs says so.
// Method  OpenGpu, GetGpus, at a daemon of the default configuration.
TEST_F(GpuDaemonTest, ADaemonWithoutGpusServesNone) {
  auto daemon = DaemonProcess::Start(SmallDaemon());
  ASSERT_THAT(daemon, IsOk());
  daemon_ = *std::move(daemon);
  const auto session = Attach();

  EXPECT_THAT(session->OpenGpu(TestDeviceUuid()),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("none (gpu.devices is empty)")));
  auto client = RawClient::Connect(daemon_->socket_path());
  auto message = client->Call(wire::GetGpusT());
  ASSERT_THAT(message, IsOk());
  EXPECT_TRUE(message->body.AsGpus()->gpus.empty());
  EXPECT_EQ(session->index().gpu_pool_count, 0u);
}

// Goal    Namespaces share a device's memory as they are configured to, and one
//         that comes too late lives on the host.
// Method  Three namespaces, room for two.
TEST_F(GpuDaemonTest, NamespacesShareADevice) {
  StartDaemon({"--gpu-namespace-quota", "2MiB", "--namespace-quota", "4MiB"});
  std::vector<std::unique_ptr<RawGpuSession>> sessions;
  for (const char* name : {"a", "b", "c"}) {
    NamespaceSpec spec = SmallSpec();
    spec.name = name;
    auto session = RawGpuSession::Attach(daemon_->socket_path(), spec);
    ASSERT_THAT(session, IsOk());
    sessions.push_back(*std::move(session));
  }

  EXPECT_EQ(sessions[0]->index().gpu_pools[0].block_count, 512u);
  EXPECT_EQ(sessions[1]->index().gpu_pools[0].block_count, 512u);
  EXPECT_EQ(sessions[2]->index().gpu_pool_count, 0u);
  EXPECT_EQ(Gpu().used_bytes, uint64_t{4} << 20);
  EXPECT_THAT(sessions[2]->OpenGpu(TestDeviceUuid()), IsOk());
  EXPECT_TRUE(sessions[2]->pools().empty());
}

// Goal    What a session uses that opened the device comes to the device's
//         memory.
// Method  A block in the host's memory is touched as a match does.
TEST_F(GpuDaemonTest, WhatIsUsedIsPromoted) {
  StartDaemon();
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const auto memory = Import(session->pools().at(1));
  ASSERT_NE(memory, nullptr);
  const std::vector<BlockKey> keys = FreshKeys(1);
  const auto blocks = session->Begin(1000, 0, keys);
  ASSERT_THAT(blocks, IsOk());
  ASSERT_TRUE(session->ReceiveUntil(
      [&] { return session->HostBytes((*blocks)[0]) != nullptr; }));
  std::memcpy(session->HostBytes((*blocks)[0]), PayloadOf(keys[0]).data(),
              kBlockBytes);
  session->Commit(1000, 1);
  ASSERT_TRUE(session->WaitForHost(keys[0]));

  session->Touch(keys[0]);

  ASSERT_TRUE(session->WaitForGpu(keys[0])) << daemon_->log();
  std::vector<std::byte> read(kBlockBytes);
  CopyNow(read.data(),
          memory->address() + session->PoolOffset(session->Gpu(keys[0]).block));
  EXPECT_EQ(read, PayloadOf(keys[0]));
  EXPECT_EQ(Gpu().copies_to_device, kBlockBytes);
}

}  // namespace
}  // namespace kvferry::test
