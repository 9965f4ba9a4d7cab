#include "daemon/worker/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::worker {
namespace {

using test::IsOk;
using test::StatusIs;

constexpr absl::Duration kLong = absl::Seconds(20);

// A shell as the worker, and this end of its socket.
class ProcessTest : public testing::Test {
 protected:
  void Spawn(const std::string& script) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    near_.reset(ends[0]);
    auto process = Process::Spawn("/bin/sh", {"-c", script}, UniqueFd(ends[1]));
    ASSERT_THAT(process, IsOk());
    process_ = *std::move(process);
  }
  // Reads until the worker's end is closed by all.
  std::string ReadAll() {
    std::string text;
    char buffer[4096];
    ssize_t count;
    while ((count = ::recv(near_.get(), buffer, sizeof(buffer), 0)) > 0) {
      text.append(buffer, static_cast<size_t>(count));
    }
    return text;
  }

  UniqueFd near_;
  std::unique_ptr<Process> process_;
};

TEST_F(ProcessTest, TellsHowItEnded) {
  Spawn("exit 3");
  ASSERT_TRUE(process_->WaitForExit(kLong));
  EXPECT_EQ(process_->Reap(), "exit code 3");

  Spawn("kill -SEGV $$");
  ASSERT_TRUE(process_->WaitForExit(kLong));
  EXPECT_THAT(process_->Reap(), testing::HasSubstr("signal 11"));
}

TEST_F(ProcessTest, RunsUntilItIsKilled) {
  Spawn("exec sleep 1000");
  EXPECT_EQ(process_->Reap(), "");
  EXPECT_FALSE(process_->WaitForExit(absl::ZeroDuration()));

  process_->Kill();

  ASSERT_TRUE(process_->WaitForExit(kLong));
  EXPECT_THAT(process_->Reap(), testing::HasSubstr("signal 9"));
}

TEST_F(ProcessTest, IsKilledWithItsOwner) {
  Spawn("exec sleep 1000");
  const pid_t pid = process_->pid();

  process_.reset();

  EXPECT_NE(::kill(pid, 0), 0);
}

// Goal    A worker has its socket and the standard descriptors, nothing else,
//         whatever this process has open.
// Method  The child lists its own descriptors (ls adds one for the list).
TEST_F(ProcessTest, HasNoOtherDescriptors) {
  const UniqueFd one(::dup3(STDERR_FILENO, 50, O_CLOEXEC));
  const UniqueFd two(::dup3(STDERR_FILENO, 51, O_CLOEXEC));
  Spawn("ls /proc/self/fd >&3");
  EXPECT_EQ(ReadAll(), "0\n1\n2\n3\n4\n");
}

// Goal    What this process blocks and ignores is the worker's to decide anew.
// Method  SIGTERM is blocked and SIGUSR1 ignored here; the child lists its own.
//         (Two signals of the C library's own are beyond anybody's reach.)
TEST_F(ProcessTest, HasNoSignalsBlockedOrIgnored) {
  sigset_t set;
  sigset_t before;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &set, &before), 0);
  const auto previous = ::signal(SIGUSR1, SIG_IGN);
  Spawn("grep -E 'SigBlk|SigIgn' /proc/self/status >&3");
  ::signal(SIGUSR1, previous);
  ASSERT_EQ(::sigprocmask(SIG_SETMASK, &before, nullptr), 0);

  const std::string text = ReadAll();
  for (const char* name : {"SigBlk:\t", "SigIgn:\t"}) {
    const size_t at = text.find(name);
    ASSERT_NE(at, text.npos) << text;
    const uint64_t mask = std::stoull(text.substr(at + 8, 16), nullptr, 16);
    EXPECT_EQ(mask & 0x7fff'ffff, 0u) << text;
  }
}

TEST_F(ProcessTest, AMissingProgramIsAnError) {
  Spawn("exit 0");
  EXPECT_THAT(
      Process::Spawn("/nowhere/kvferry-gpu", {}, UniqueFd(::dup(near_.get()))),
      StatusIs(absl::StatusCode::kNotFound));
}

TEST(FindProgramTest, WhatIsConfiguredIsTaken) {
  EXPECT_EQ(FindProgram("/opt/worker", "kvferry-gpu"), "/opt/worker");
}

TEST(FindProgramTest, WhatIsNowhereIsLeftToThePath) {
  EXPECT_EQ(FindProgram("", "kvferry-none-such"), "kvferry-none-such");
}

TEST(FindProgramTest, WhatIsBesideThisProgramIsFound) {
  const std::string self =
      std::filesystem::read_symlink("/proc/self/exe").string();
  EXPECT_EQ(FindProgram("", std::filesystem::path(self).filename().string()),
            self);
}

TEST(BecomeWorkerTest, AnotherParentIsRefused) {
  EXPECT_THAT(BecomeWorker(1'000'000'000),
              StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace kvferry::worker
