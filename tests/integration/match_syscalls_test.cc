// A hit asks nobody: no system call between two instructions of Match.

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "tests/integration/client_fixture.h"

namespace kvferry::test {
namespace {

// Lets this thread do nothing but end; anything else kills the process.
bool ForbidSystemCalls() {
  constexpr auto kNumber = static_cast<uint32_t>(offsetof(seccomp_data, nr));
#ifdef __SANITIZE_ADDRESS__
  // ASan looks at the signal stack before a function that does not return,
  // which _exit is.
  constexpr uint32_t kToEnd = SYS_sigaltstack;
#else
  constexpr uint32_t kToEnd = SYS_exit_group;
#endif
  std::array<sock_filter, 5> filter = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kToEnd, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  }};
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum Exit { kFine = 0, kNoFilter = 2, kWrongAnswer = 3 };

class MatchSyscallsTest : public ClientFixture {
 protected:
  void SetUp() override { StartDaemon(); }

  // Runs `body` without system calls, in a child; returns its wait status.
  int RunConfined(const std::function<bool(Client*)>& prepare,
                  const std::function<bool(Client*)>& body) {
    const AttachOptions options = Options();
    const pid_t child = ::fork();
    if (child == 0) {
      Client* client = Client::Attach(options)->release();
      if (!prepare(client)) ::_exit(kWrongAnswer);
      if (!ForbidSystemCalls()) ::_exit(kNoFilter);
      ::_exit(body(client) ? kFine : kWrongAnswer);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
};

TEST_F(MatchSyscallsTest, HitsAndMissesMakeNone) {
  const std::vector<BlockKey> hits = Keys(0, 1024);
  const std::vector<BlockKey> misses = Keys(100000, 1024);
  PinnedPrefix prefix;
  const auto match_all = [&](Client* client) {
    for (const size_t count : {1024u, 64u, 1u}) {
      const auto some = [count](const std::vector<BlockKey>& keys) {
        return std::span(keys).first(count);
      };
      if (!client->Match(some(hits), &prefix).ok() ||
          prefix.block_count() != count || !prefix.Check().ok() ||
          prefix.page(0).empty()) {
        return false;
      }
      if (!client->Match(some(misses), &prefix).ok() ||
          prefix.block_count() != 0) {
        return false;
      }
      const GroupKeys group{0, some(hits)};
      if (!client->Match({&group, 1}, &prefix).ok() ||
          prefix.block_count() != count) {
        return false;
      }
      prefix.Release();
    }
    return true;
  };
  const int status = RunConfined(
      [&](Client* client) {
        const auto published = Publish(client, hits);
        return published.ok() && *published == 1024 && match_all(client);
      },
      [&](Client* client) {
        for (int round = 0; round < 1000; ++round) {
          if (!match_all(client)) return false;
        }
        return true;
      });
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), kFine);
}

// Goal    The filter would have noticed.
TEST_F(MatchSyscallsTest, ASystemCallIsFatalThere) {
  const int status = RunConfined([](Client*) { return true; },
                                 [](Client*) { return ::getppid() > 0; });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

}  // namespace
}  // namespace kvferry::test
