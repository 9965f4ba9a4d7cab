// The daemon as its surroundings see it: start, refusals to start, signals,
// readiness, restart.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/becomes.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_client.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/small_daemon.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {
namespace {

namespace wire = protocol::wire;

using ::testing::AllOf;
using ::testing::HasSubstr;

// Runs kvferryd until it ends by itself.
struct Ended {
  int code = -1;
  std::string output;
};
Ended RunDaemon(std::vector<std::string> args) {
  args.insert(args.begin(), DaemonProgramPath());
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  int output[2];
  if (::pipe2(output, O_CLOEXEC) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(output[1], STDOUT_FILENO);
    ::dup2(output[1], STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(output[1]);
  Ended ended;
  char buffer[4096];
  for (ssize_t n; (n = ::read(output[0], buffer, sizeof(buffer))) > 0;) {
    ended.output.append(buffer, static_cast<size_t>(n));
  }
  ::close(output[0]);
  int wait_status = 0;
  ::waitpid(child, &wait_status, 0);
  ended.code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
  return ended;
}

wire::StatusT StatusOf(const DaemonProcess& daemon) {
  auto client = RawClient::Connect(daemon.socket_path());
  EXPECT_THAT(client, IsOk());
  auto message = client->Call(wire::GetStatusT());
  EXPECT_THAT(message, IsOk());
  return message.ok() ? *message->body.AsStatus() : wire::StatusT();
}

// --- it does not start ---

TEST(DaemonStartTest, AConfigurationErrorEndsItWithCodeTwo) {
  const ScratchDirectory scratch;
  const std::string path = scratch / "kv.toml";
  std::ofstream(path)
      << "[memory]\nhuge_pages = \"on\"\npool_syze = \"1GiB\"\n";

  const Ended ended = RunDaemon({"--config", path});

  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.output,
              AllOf(HasSubstr(path + ":3"), HasSubstr("memory.pool_syze"),
                    HasSubstr("1GiB"), HasSubstr("accepted: pool_size")));
}

TEST(DaemonStartTest, SoDoesAFlag) {
  const Ended ended = RunDaemon({"--spin-us", "soon"});

  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.output, HasSubstr("--spin-us = \"soon\""));
}

TEST(DaemonStartTest, WhatTheMachineCannotDoEndsItWithCodeOne) {
  const ScratchDirectory scratch;
  const Ended ended = RunDaemon({"--socket", scratch / "s.sock", "--directory",
                                 scratch / "n", "--pool-size", "1000TiB"});

  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.output, AllOf(HasSubstr("memory.pool_size = 1000TiB"),
                                  HasSubstr("this machine has")));
  EXPECT_FALSE(std::filesystem::exists(scratch / "s.sock"));
}

TEST(DaemonStartTest, HelpAndVersionEndItWithCodeZero) {
  EXPECT_EQ(RunDaemon({"--help"}).code, 0);
  EXPECT_EQ(RunDaemon({"--version"}).code, 0);
  const Ended ended = RunDaemon({"--help-config"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_THAT(ended.output, HasSubstr("[memory]"));
}

// --- its life ---

TEST(DaemonLifeTest, SigtermEndsItWithCodeZeroAndNothingLeftBehind) {
  auto daemon = DaemonProcess::Start(SmallDaemon());
  ASSERT_THAT(daemon, IsOk());
  auto session = RawSession::Attach((*daemon)->socket_path(), SmallSpec());
  ASSERT_THAT(session, IsOk());

  EXPECT_EQ((*daemon)->Stop(), 0) << (*daemon)->log();

  EXPECT_FALSE(std::filesystem::exists((*daemon)->socket_path()));
  EXPECT_FALSE(std::filesystem::exists((*daemon)->directory() + "/index.0"));
  // What the client has mapped is still there.
  EXPECT_EQ(session->daemon_header().magic, protocol::kDaemonMagic);
}

TEST(DaemonLifeTest, WhatWasSubmittedBeforeSigtermIsTakenIn) {
  auto daemon = DaemonProcess::Start(SmallDaemon());
  ASSERT_THAT(daemon, IsOk());
  auto session = RawSession::Attach((*daemon)->socket_path(), SmallSpec());
  ASSERT_THAT(session, IsOk());
  ::kill((*daemon)->pid(), SIGSTOP);
  session->PostOpen(1, 1);
  ::kill((*daemon)->pid(), SIGTERM);
  ::kill((*daemon)->pid(), SIGCONT);

  EXPECT_EQ((*daemon)->Stop(), 0);

  EXPECT_EQ(session->daemon_header().submit_consumed.load(), 1u);
}

TEST(DaemonLifeTest, SighupChangesNothing) {
  auto daemon = DaemonProcess::Start(SmallDaemon());
  ASSERT_THAT(daemon, IsOk());

  ::kill((*daemon)->pid(), SIGHUP);

  EXPECT_TRUE((*daemon)->WaitForLog("SIGHUP ignored"));
  EXPECT_TRUE((*daemon)->running());
}

TEST(DaemonLifeTest, AfterAKillItStartsAnewUnderALargerEpoch) {
  auto daemon = DaemonProcess::Start(SmallDaemon());
  ASSERT_THAT(daemon, IsOk());
  auto session = RawSession::Attach((*daemon)->socket_path(), SmallSpec());
  ASSERT_THAT(session, IsOk());
  const uint64_t epoch = StatusOf(**daemon).epoch;

  (*daemon)->Kill();
  ASSERT_TRUE(std::filesystem::exists((*daemon)->directory() + "/index.0"));
  ASSERT_THAT((*daemon)->Restart(), IsOk());

  EXPECT_GT(StatusOf(**daemon).epoch, epoch);
  EXPECT_TRUE((*daemon)->WaitForLog("files of an earlier daemon removed"));
  EXPECT_FALSE(std::filesystem::exists((*daemon)->directory() + "/index.0"));
  // Its old client keeps a frozen copy, and may come again.
  EXPECT_EQ(session->daemon_header().magic, protocol::kDaemonMagic);
  const auto again = RawSession::Attach((*daemon)->socket_path(), SmallSpec());
  ASSERT_THAT(again, IsOk());
  EXPECT_GT(again->attached.epoch, session->attached.epoch);
  EXPECT_EQ(again->attached.node_id, session->attached.node_id);
}

TEST(DaemonLifeTest, SegmentsAreAnnouncedOnceTheyArePopulated) {
  auto daemon = DaemonProcess::Start(SmallDaemon({"--segment-size", "2MiB"}));
  ASSERT_THAT(daemon, IsOk());
  auto session = RawSession::Attach((*daemon)->socket_path(), SmallSpec());
  ASSERT_THAT(session, IsOk());

  uint64_t bytes = 0;
  while (bytes < 16 << 20) {
    std::vector<UniqueFd> fds;
    const auto message = session->connection.Receive(&fds);
    ASSERT_THAT(message, IsOk());
    const wire::SegmentAddedT* added = message->body.AsSegmentAdded();
    if (added == nullptr) continue;
    ASSERT_EQ(fds.size(), 1u);
    EXPECT_TRUE(added->writable);
    EXPECT_THAT(
        Mapping::Map(fds[0].get(), added->bytes, Mapping::Access::kReadWrite),
        IsOk());
    bytes += added->bytes;
  }
  EXPECT_TRUE(Becomes([&] { return StatusOf(**daemon).used_bytes == bytes; }));
}

// A client that rings only when the daemon says that it sleeps is served, and
// the daemon sleeps in between.
TEST(DaemonLifeTest, ADoorbellWakesItFromSleep) {
  auto daemon = DaemonProcess::Start(SmallDaemon({"--spin-us", "0"}));
  ASSERT_THAT(daemon, IsOk());
  auto session = RawSession::Attach((*daemon)->socket_path(), SmallSpec());
  ASSERT_THAT(session, IsOk());
  const auto index = Mapping::Map(session->fds[0].get(), protocol::kHeaderBytes,
                                  Mapping::Access::kReadOnly);
  ASSERT_THAT(index, IsOk());
  const auto& asleep = index->At<protocol::IndexHeader>(0)->daemon_asleep;
  constexpr uint32_t kRounds = 200;

  for (uint32_t i = 0; i < kRounds; ++i) {
    ASSERT_TRUE(Becomes([&] { return asleep.load() != 0; }));
    if (i % 2 == 0) {
      session->PostOpen(1, i + 1);
    } else {
      session->PostClose(1);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (asleep.load() != 0) session->RingDoorbell();
    ASSERT_TRUE(Becomes([&] {
      return session->daemon_header().submit_consumed.load() == i + 1;
    })) << (*daemon)->log();
  }

  // Some rounds may meet a daemon that woke to tick.
  EXPECT_GT(StatusOf(**daemon).doorbells, kRounds / 2);
}

TEST(DaemonLifeTest, IdleItUsesLessThanOnePercentOfACore) {
#ifdef KVFERRY_SANITIZED
  GTEST_SKIP() << "measured without sanitizers";
#endif
  auto daemon = DaemonProcess::Start(SmallDaemon());
  ASSERT_THAT(daemon, IsOk());
  auto session = RawSession::Attach((*daemon)->socket_path(), SmallSpec());
  ASSERT_THAT(session, IsOk());
  clockid_t cpu_clock;
  ASSERT_EQ(::clock_getcpuclockid((*daemon)->pid(), &cpu_clock), 0);
  const auto cpu_time = [&] {
    timespec time{};
    ::clock_gettime(cpu_clock, &time);
    return absl::DurationFromTimespec(time);
  };
  ASSERT_TRUE(Becomes(
      [&] { return StatusOf(**daemon).used_bytes == uint64_t{16} << 20; }));

  const absl::Duration before = cpu_time();
  ::poll(nullptr, 0, 2000);  // the interval that is measured

  EXPECT_LT(cpu_time() - before, absl::Milliseconds(20));
}

// --- systemd ---

TEST(DaemonNotifyTest, SaysReadyAliveAndStopping) {
  const ScratchDirectory scratch;
  const std::string path = scratch / "notify";
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof(address)),
            0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "200000", 1);
  auto daemon = DaemonProcess::Start(SmallDaemon());
  ::unsetenv("NOTIFY_SOCKET");
  ::unsetenv("WATCHDOG_USEC");
  ASSERT_THAT(daemon, IsOk());
  const auto hears = [&](const std::string& text) {
    return Becomes([&] {
      char buffer[512];
      const ssize_t n =
          ::recv(socket.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
      return n > 0 && absl::StrContains(
                          std::string(buffer, static_cast<size_t>(n)), text);
    });
  };

  EXPECT_TRUE(hears("READY=1"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(hears("WATCHDOG=1"));
  EXPECT_EQ((*daemon)->Stop(), 0);
  EXPECT_TRUE(hears("STOPPING=1"));
}

}  // namespace
}  // namespace kvferry::test
