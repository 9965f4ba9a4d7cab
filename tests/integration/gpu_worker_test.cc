#include <string>
#include <vector>

#include "tests/integration/gpu_daemon_fixture.h"

// Workers that die, hang, or cannot serve, at every stage: the host serves on,
// the pool comes back, and the reason is there to be read.
namespace kvferry::test {
namespace {

using ::testing::HasSubstr;

// Goal    A worker's death takes its pool and nothing else; the next one brings
//         the pool back under another incarnation.
// Method  SIGKILL of an idle worker whose pool holds blocks that the host has,
//         too.
TEST_F(GpuDaemonTest, AfterAWorkersDeathThePoolComesBack) {
  StartDaemon();
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const auto memory = Import(session->pools().at(1));
  ASSERT_NE(memory, nullptr);
  const std::vector<BlockKey> keys = FreshKeys(2);
  PublishToGpu(*session, *memory, keys);
  for (const BlockKey& key : keys) ASSERT_TRUE(session->WaitForHost(key));

  const pid_t pid = KillWorker();

  ASSERT_TRUE(
      session->ReceiveUntil([&] { return !session->pools().at(1).there(); }));
  EXPECT_THAT(session->pools().at(1).changed.reason, HasSubstr("signal 9"));
  EXPECT_EQ(session->pools().at(1).changed.incarnation, 2u);
  ASSERT_TRUE(session->WaitForPool(1, 3)) << daemon_->log();
  EXPECT_EQ(session->Incarnation(1), 3u);
  for (const BlockKey& key : keys) {
    EXPECT_EQ(session->Gpu(key).state, protocol::ResidenceState::kFree);
    EXPECT_EQ(session->Host(key).state, protocol::ResidenceState::kReady);
    EXPECT_TRUE(HostHolds(*session, key));
  }
  const wire::GpuStatusT status = Gpu();
  EXPECT_EQ(status.restarts, 1u);
  EXPECT_NE(static_cast<pid_t>(status.worker_pid), pid);
  EXPECT_TRUE(daemon_->WaitForLog("signal 9"));
  const auto again = Import(session->pools().at(1));
  ASSERT_NE(again, nullptr);
  const std::vector<BlockKey> more = FreshKeys(1);
  PublishToGpu(*session, *again, more);
  EXPECT_TRUE(session->WaitForHost(more[0]));
  EXPECT_TRUE(HostHolds(*session, more[0]));
}

// Goal    What is under way when the worker dies is lost, and only that.
// Method  A device that takes a second for each piece of work; its worker is
//         killed while it copies.
TEST_F(GpuDaemonTest, AWorkerThatDiesWhileCopyingLosesWhatItCopied) {
  KVFERRY_EMULATED_ONLY();
  StartDaemon({"--gpu-worker",
               WriteWorker("exec $GPU \"$@\" --emulated-delay-us 1000000")});
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const auto memory = Import(session->pools().at(1));
  ASSERT_NE(memory, nullptr);
  const std::vector<BlockKey> keys = FreshKeys(1);
  PublishToGpu(*session, *memory, keys);
  ASSERT_TRUE(session->WaitForGpu(keys[0]));
  ASSERT_TRUE(Becomes([&] { return Gpu().copies_waiting == 1; }));

  KillWorker();

  EXPECT_TRUE(session->WaitUntilGone(keys[0]));
  ASSERT_TRUE(session->WaitForPool(1, 3));
  const wire::GpuStatusT status = Gpu();
  EXPECT_EQ(status.pools.at(0)->lost, 1u);
  // But for what sessions were granted ahead.
  EXPECT_EQ(status.pools.at(0)->free + status.pools.at(0)->granted,
            status.pools.at(0)->blocks);
  EXPECT_EQ(status.copies_waiting, 0u);
  ExpectHostServes(*session);
}

// Goal    A writer into a pool that goes down is told, and may go on.
// Method  The worker dies between begin and commit.
TEST_F(GpuDaemonTest, APublicationIntoALostPoolIsVoid) {
  StartDaemon();
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const std::vector<BlockKey> keys = FreshKeys(1);
  ASSERT_THAT(session->Begin(1, 1, keys), IsOk());

  KillWorker();
  ASSERT_TRUE(session->WaitForPool(1, 3));
  session->Commit(1, 1);

  const auto answer =
      session->session().TakeReply(protocol::ReplyType::kAnswer);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(static_cast<protocol::PublishAnswer>(answer->answer),
            protocol::PublishAnswer::kVoid);
  EXPECT_TRUE(session->WaitUntilGone(keys[0]));
  ExpectHostServes(*session);
}

// Goal    Death after death, each pool's end and new beginning in order.
// Method  Four kills, each as soon as the pool is there again.
TEST_F(GpuDaemonTest, WorkersMayDieAgainAndAgain) {
  StartDaemon();
  const auto session = AttachWithGpu();
  for (uint32_t death = 0; death < 4; ++death) {
    ASSERT_TRUE(session->WaitForPool(1, 2 * death + 1)) << daemon_->log();
    EXPECT_EQ(session->Incarnation(1), 2 * death + 1);
    KillWorker();
    ExpectHostServes(*session);
  }
  ASSERT_TRUE(session->WaitForPool(1, 9));
  EXPECT_EQ(Gpu().restarts, 4u);
}

// Goal    A worker that dies before its Hello is tried again.
// Method  A program that waits until it is killed, the first time; then the
//         real one.
TEST_F(GpuDaemonTest, AWorkerMayDieBeforeItsHello) {
  const std::string once = scratch_ / "once";
  StartDaemon({"--gpu-worker",
               WriteWorker("if [ ! -e " + once + " ]; then : > " + once +
                           "; exec sleep 1000; fi; exec $GPU \"$@\"")});
  const auto session = AttachWithGpu();
  ASSERT_TRUE(Becomes([&] { return std::ifstream(once).good(); }));
  EXPECT_EQ(Gpu().state, wire::GpuState::Starting);
  EXPECT_EQ(session->pools().at(1).changed.reason, "its worker is starting");
  EXPECT_EQ(session->pools().at(1).changed.incarnation, 0u);
  ExpectHostServes(*session);

  KillWorker();

  ASSERT_TRUE(session->WaitForPool(1)) << daemon_->log();
  EXPECT_EQ(session->Incarnation(1), 1u);
}

// Goal    A program that is not there, or ends at once, leaves a daemon that
//         serves without it and says why, once.
// Method  A path of no file; a program that exits with code 7, several times.
TEST_F(GpuDaemonTest, AMissingWorkerLeavesTheHost) {
  StartDaemon({"--gpu-worker", scratch_ / "absent"});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(GpuBecomes(wire::GpuState::Backoff));
  EXPECT_THAT(Gpu().reason, HasSubstr("No such file"));
  EXPECT_FALSE(session->pools().at(1).there());
  ExpectHostServes(*session);
}

TEST_F(GpuDaemonTest, AWorkerThatEndsAtOnceIsLoggedOnce) {
  const std::string count = scratch_ / "count";
  StartDaemon({"--gpu-worker", WriteWorker("echo >> " + count + "; exit 7")});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(Becomes([&] { return Gpu().restarts >= 3; }));
  EXPECT_TRUE(Becomes([&] { return Gpu().reason == "exit code 7"; }));
  ASSERT_TRUE(daemon_->WaitForLog("exit code 7"));
  const std::string log = daemon_->log();
  EXPECT_EQ(log.find("exit code 7"), log.rfind("exit code 7")) << log;
  ExpectHostServes(*session);
}

// Goal    A device that will never work is not tried again.
// Method  The worker says that it is no use, for good: a capability that no
//         emulated device knows.
TEST_F(GpuDaemonTest, AnUnusableDeviceIsNotTriedAgain) {
  KVFERRY_EMULATED_ONLY();
  StartDaemon({"--gpu-worker",
               WriteWorker("exec $GPU \"$@\" --emulated-missing nonsense")});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(GpuBecomes(wire::GpuState::Unusable)) << daemon_->log();

  EXPECT_THAT(Gpu().reason, HasSubstr("nonsense"));
  EXPECT_EQ(Gpu().worker_pid, 0u);
  EXPECT_TRUE(daemon_->WaitForLog("not tried again"));
  ExpectHostServes(*session);
}

// Goal    A device that exports no memory, as a MIG slice does not, has no
//         pools; the reason is said to sessions and operators.
// Method  An emulated device without either way, then one without the way that
//         is configured.
TEST_F(GpuDaemonTest, WithoutAnExportThereIsNoPool) {
  KVFERRY_EMULATED_ONLY();
  StartDaemon(
      {"--gpu-worker", WriteWorker("exec $GPU \"$@\" --emulated-missing vmm "
                                   "--emulated-missing ipc")});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(Becomes([&] {
    const wire::GpuStatusT status = Gpu();
    return status.state == wire::GpuState::Serving &&
           status.pools.at(0)->reason != "it is being made";
  }));

  EXPECT_THAT(Gpu().pools.at(0)->reason, HasSubstr("ipc"));
  ASSERT_TRUE(session->ReceiveUntil([&] {
    return session->pools().at(1).changed.reason == Gpu().pools.at(0)->reason;
  }));
  EXPECT_EQ(session->Incarnation(1), 0u);
  ExpectHostServes(*session);
}

// Goal    A part of a GPU (MIG) has no pool, whatever exports it claims.
TEST_F(GpuDaemonTest, APartOfAGpuHasNoPool) {
  KVFERRY_EMULATED_ONLY();
  StartDaemon({"--gpu-worker",
               WriteWorker("exec $GPU \"$@\" --emulated-missing whole-gpu")});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(session->ReceiveUntil([&] {
    return session->pools().at(1).changed.reason.find("part of a GPU") !=
           std::string::npos;
  })) << session->pools().at(1).changed.reason;
  EXPECT_EQ(session->Incarnation(1), 0u);
  ExpectHostServes(*session);
}

TEST_F(GpuDaemonTest, AnExportThatTheDeviceLacksLeavesTheHost) {
  KVFERRY_EMULATED_ONLY();
  StartDaemon({"--gpu-export", "vmm", "--gpu-worker",
               WriteWorker("exec $GPU \"$@\" --emulated-missing vmm")});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(session->ReceiveUntil([&] {
    return session->pools().at(1).changed.reason.find("vmm") !=
           std::string::npos;
  })) << daemon_->log();
  ExpectHostServes(*session);
}

TEST_F(GpuDaemonTest, AutoTakesTheExportThatThereIs) {
  KVFERRY_EMULATED_ONLY();
  StartDaemon(
      {"--gpu-worker", WriteWorker("exec $GPU \"$@\" --emulated-missing vmm")});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(session->WaitForPool(1));
  EXPECT_EQ(session->pools().at(1).changed.export_, wire::GpuExport::Handle);
}

// Goal    A device without memory for the pool leaves the host.
// Method  An emulated device smaller than the pool.
TEST_F(GpuDaemonTest, ADeviceWithoutRoomLeavesTheHost) {
  KVFERRY_EMULATED_ONLY();
  StartDaemon({"--gpu-worker",
               WriteWorker("exec $GPU \"$@\" --emulated-bytes 1048576")});
  const auto session = AttachWithGpu();

  ASSERT_TRUE(session->ReceiveUntil([&] {
    return session->pools().at(1).changed.reason.find("1048576") !=
           std::string::npos;
  })) << session->pools().at(1).changed.reason;
  ExpectHostServes(*session);
}

// Goal    A worker does not outlive its daemon, however that ends.
// Method  The daemon is killed; the worker's process goes.
TEST_F(GpuDaemonTest, AWorkerEndsWithItsDaemon) {
  StartDaemon();
  ASSERT_TRUE(GpuBecomes(wire::GpuState::Serving));
  const auto pid = static_cast<pid_t>(Gpu().worker_pid);

  daemon_->Kill();

  EXPECT_TRUE(Becomes([&] { return ::kill(pid, 0) != 0; }));
  ASSERT_THAT(daemon_->Restart(), IsOk());
  EXPECT_TRUE(GpuBecomes(wire::GpuState::Serving));
}

// Goal    Signals that a terminal or a service manager sends to the whole group
//         end the daemon, and the worker only with it.
// Method  SIGTERM and SIGINT to the worker alone.
TEST_F(GpuDaemonTest, AWorkerIgnoresSignalsMeantForTheDaemon) {
  StartDaemon();
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const auto pid = static_cast<pid_t>(Gpu().worker_pid);

  ASSERT_EQ(::kill(pid, SIGTERM), 0);
  ASSERT_EQ(::kill(pid, SIGINT), 0);

  const auto memory = Import(session->pools().at(1));
  ASSERT_NE(memory, nullptr);
  const std::vector<BlockKey> keys = FreshKeys(1);
  PublishToGpu(*session, *memory, keys);
  EXPECT_TRUE(session->WaitForHost(keys[0]));
  EXPECT_EQ(static_cast<pid_t>(Gpu().worker_pid), pid);
}

}  // namespace
}  // namespace kvferry::test
