// Who may do what: other users at the daemon's socket, and a daemon without
// any rights.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/becomes.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_client.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/small_daemon.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {
namespace {

namespace wire = protocol::wire;

using ::testing::HasSubstr;

constexpr uid_t kNobody = 65534;

// What a client of another user gets, as the exit code of its process.
int AsNobody(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresgid(kNobody, kNobody, kNobody) != 0 ||
        ::setresuid(kNobody, kNobody, kNobody) != 0) {
      ::_exit(100);
    }
    ::_exit(body());
  }
  int wait_status = 0;
  ::waitpid(child, &wait_status, 0);
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 101;
}

// Whether the descriptor, or the file opened again by it, is good for writing.
bool CanWrite(int fd, uint64_t bytes) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  return Mapping::Map(fd, bytes, Mapping::Access::kReadWrite).ok() ||
         UniqueFd(::open(path.c_str(), O_RDWR)).valid();
}

TEST(DaemonUsersTest, AnotherUserDoesNotEvenReachAPrivateSocket) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes somebody else";
  DaemonProcess::Options options = SmallDaemon();
  options.folder_mode = 0755;
  auto daemon = DaemonProcess::Start(options);
  ASSERT_THAT(daemon, IsOk());

  EXPECT_EQ(AsNobody([&] {
              return static_cast<int>(
                  RawClient::Connect((*daemon)->socket_path()).status().code());
            }),
            static_cast<int>(absl::StatusCode::kPermissionDenied));
}

TEST(DaemonUsersTest, AReaderReadsAndDoesNothingElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes somebody else";
  DaemonProcess::Options options = SmallDaemon({"--allow-read", "*"});
  options.folder_mode = 0755;
  auto daemon = DaemonProcess::Start(options);
  ASSERT_THAT(daemon, IsOk());
  const std::string& path = (*daemon)->socket_path();
  // Somebody makes the namespace, and publishes: its progress file is number 0.
  auto owner = RawSession::Attach(path, SmallSpec());
  ASSERT_THAT(owner, IsOk());
  ASSERT_TRUE(owner->Lock());
  ASSERT_TRUE(owner->SealProgress());

  EXPECT_EQ(
      AsNobody([&] {
        const auto publisher = RawSession::Attach(path, SmallSpec());
        if (!absl::IsPermissionDenied(publisher.status())) return 1;
        auto client = RawClient::Connect(path);
        if (!client.ok()) return 2;
        if (!absl::IsPermissionDenied(
                client->Call(wire::GetStatusT()).status()) ||
            !absl::IsPermissionDenied(client->Call(wire::ClearT()).status())) {
          return 3;
        }
        wire::AttachT attach = MakeAttach(SmallSpec());
        attach.access = wire::Access::Read;
        std::vector<UniqueFd> fds;
        if (!client->Call(std::move(attach), &fds).ok()) return 4;
        // The lock that says it lives: by a description of its own.
        const std::string again = absl::StrCat("/proc/self/fd/", fds[3].get());
        if (!UniqueFd(::open(again.c_str(), O_RDWR)).valid()) return 5;
        while (true) {
          std::vector<UniqueFd> segment;
          const auto message = client->Receive(&segment);
          if (!message.ok()) return 6;
          const auto* added = message->body.AsSegmentAdded();
          if (added == nullptr) continue;
          const bool writable = CanWrite(segment[0].get(), added->bytes);
          const bool readable = Mapping::Map(segment[0].get(), added->bytes,
                                             Mapping::Access::kReadOnly)
                                    .ok();
          if (added->writable || writable || !readable) return 7;
          break;
        }
        std::vector<UniqueFd> progress;
        if (!client->Call(wire::GetProgressT(), &progress).ok()) return 8;
        if (CanWrite(progress[0].get(), protocol::kProgressFileBytes) ||
            !Mapping::Map(progress[0].get(), protocol::kProgressFileBytes,
                          Mapping::Access::kReadOnly)
                 .ok()) {
          return 9;
        }
        return 0;
      }),
      0);
}

// The file is the daemon's, but its client seals it, whoever that is.
TEST(DaemonUsersTest, APublisherOfAnotherUserSealsItsProgress) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes somebody else";
  DaemonProcess::Options options = SmallDaemon({"--allow-publish", "*"});
  options.folder_mode = 0755;
  auto daemon = DaemonProcess::Start(options);
  ASSERT_THAT(daemon, IsOk());

  EXPECT_EQ(AsNobody([&] {
              auto session =
                  RawSession::Attach((*daemon)->socket_path(), SmallSpec());
              if (!session.ok()) return 1;
              const auto get = [&] {
                return session->connection.Call(wire::GetProgressT()).status();
              };
              if (!absl::IsFailedPrecondition(get())) return 2;
              if (!session->SealProgress()) return 3;
              return get().ok() ? 0 : 4;
            }),
            0);
}

// A daemon of a user without any rights: private to that user and to root.
TEST(DaemonUsersTest, RunsWithoutAnyRights) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes somebody else";
  const ScratchDirectory scratch;
  ASSERT_EQ(::chown(scratch.path().c_str(), kNobody, kNobody), 0);
  const std::string socket = scratch / "kvferryd.sock";
  const std::string directory = scratch / "node";
  const std::string program = scratch / "kvferryd";
  // Where the user may run it, wherever the build tree is.
  std::filesystem::copy(DaemonProgramPath(), program);
  ASSERT_EQ(::chmod(program.c_str(), 0755), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresgid(kNobody, kNobody, kNobody) != 0 ||
        ::setresuid(kNobody, kNobody, kNobody) != 0) {
      ::_exit(100);
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // changing users clears it
    ::execl(program.c_str(), program.c_str(), "--socket", socket.c_str(),
            "--directory", directory.c_str(), "--pool-size", "4MiB", nullptr);
    ::_exit(127);
  }
  ASSERT_TRUE(Becomes([&] { return RawClient::Connect(socket).ok(); },
                      absl::Seconds(20)));

  {
    auto session = RawSession::Attach(socket, SmallSpec());
    EXPECT_THAT(session, IsOk());
    auto client = RawClient::Connect(socket);
    ASSERT_THAT(client, IsOk());
    const auto status = client->Call(wire::GetStatusT());
    ASSERT_THAT(status, IsOk());
    // Enforced by a user namespace, or said why not.
    EXPECT_THAT(status->body.AsStatus()->read_only_note,
                HasSubstr("read-only"));
    EXPECT_EQ(status->body.AsStatus()->pid, static_cast<uint32_t>(child));
  }
  ::kill(child, SIGTERM);
  int wait_status = 0;
  ASSERT_EQ(::waitpid(child, &wait_status, 0), child);
  EXPECT_TRUE(WIFEXITED(wait_status));
  EXPECT_EQ(WEXITSTATUS(wait_status), 0);
}

}  // namespace
}  // namespace kvferry::test
