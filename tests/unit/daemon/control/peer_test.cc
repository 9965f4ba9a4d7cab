#include "daemon/control/peer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/status_matchers.h"

namespace kvferry::control {
namespace {

using test::IsOk;
using test::StatusIs;

bool Readable(int fd, int timeout_ms) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, timeout_ms) == 1;
}

TEST(PeerTest, IsWhoConnected) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);

  const auto peer = IdentifyPeer(ours.get());

  ASSERT_THAT(peer, IsOk());
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::geteuid());
  EXPECT_EQ(peer->gid, ::getegid());
  EXPECT_FALSE(Readable(peer->pidfd.get(), 0));
}

TEST(PeerTest, AProcessIsOpenedByNumberAndSeenToEnd) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const auto pidfd = OpenProcess(child, ::geteuid());
  ASSERT_THAT(pidfd, IsOk());
  EXPECT_FALSE(Readable(pidfd->get(), 0));

  ::kill(child, SIGKILL);

  EXPECT_TRUE(Readable(pidfd->get(), 10'000));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_THAT(OpenProcess(child, ::geteuid()),
              StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace kvferry::control
