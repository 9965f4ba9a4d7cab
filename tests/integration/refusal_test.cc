// What is refused without ending the connection, both values named.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/integration/hostile_client_fixture.h"

namespace kvferry::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using RefusalTest = HostileClientTest;

TEST_F(RefusalTest, AnotherPageSizeIsRefusedWithBoth) {
  NamespaceSpec other = Spec();
  other.groups[0].head_bytes *= 2;

  EXPECT_THAT(Connect().Call(MakeAttach(other)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("page_bytes"), HasSubstr("8192"),
                             HasSubstr("4096"))));
}

TEST_F(RefusalTest, AnotherSliceCountIsRefusedWithBoth) {
  NamespaceSpec other = Spec();
  other.groups[0].slice_count = 4;

  EXPECT_THAT(Connect().Call(MakeAttach(other)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("slice_count"), HasSubstr("4"),
                             HasSubstr("1"))));
}

TEST_F(RefusalTest, AWrongFingerprintIsRefusedWithBoth) {
  wire::AttachT attach = MakeAttach(Spec());
  attach.fingerprint.assign(32, 0xab);
  const wire::AttachT honest = MakeAttach(Spec());

  EXPECT_THAT(
      Connect().Call(std::move(attach)),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("abababab"),
                     HasSubstr(absl::StrCat(
                         absl::Hex(honest.fingerprint[0], absl::kZeroPad2),
                         absl::Hex(honest.fingerprint[1], absl::kZeroPad2))))));
}

TEST_F(RefusalTest, AnotherProtocolIsRefusedWithBoth) {
  wire::AttachT attach = MakeAttach(Spec());
  attach.protocol_version = 999;

  EXPECT_THAT(Connect().Call(std::move(attach)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("999"),
                             HasSubstr(absl::StrCat(
                                 "protocol ", protocol::kProtocolVersion)))));
}

TEST_F(RefusalTest, ABadSpecificationIsRefusedAndMayBeCorrected) {
  NamespaceSpec bad = Spec();
  bad.groups[0].block_tokens = 0;
  RawClient client = Connect();
  EXPECT_THAT(
      client.Call(MakeAttach(bad)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("block_tokens")));

  EXPECT_THAT(client.Call(MakeAttach(Spec())), IsOk());
}

TEST_F(RefusalTest, ANamespaceThatFitsNowhereIsRefused) {
  NamespaceSpec large = Spec();
  large.name = "large";

  EXPECT_THAT(Connect().Call(MakeAttach(large)),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(RefusalTest, TicketsThatAreNoneAreRefused) {
  RawSession session = Attach();
  wire::RedeemTicketT redeem;
  redeem.ticket.assign(104, 1);
  EXPECT_FALSE(session.connection.Call(std::move(redeem)).ok());

  wire::MintTicketT mint;
  mint.keys.emplace_back(5, 5);
  mint.consumers = 1;
  mint.ttl_ms = 1000;
  EXPECT_THAT(session.connection.Call(std::move(mint)),
              StatusIs(absl::StatusCode::kNotFound));
}

// --- who may do what ---

TEST_F(RefusalTest, ClientsCannotWriteWhatIsTheDaemons) {
  RawSession session = Attach();
  if (Status().read_only_note.find("read-only mount") != 0) {
    GTEST_SKIP() << Status().read_only_note;
  }
  for (int i = 0; i < 3; ++i) {
    const std::string path =
        absl::StrCat("/proc/self/fd/", session.fds[i].get());
    const UniqueFd writable(::open(path.c_str(), O_RDWR));
    EXPECT_FALSE(writable.valid()) << i;
    EXPECT_EQ(errno, EROFS) << i;
    EXPECT_NE(::ftruncate(session.fds[i].get(), 0), 0) << i;
  }
}

TEST_F(RefusalTest, ASecondDaemonIsRefusedWithTheFirstOnesPid) {
  int output[2];
  ASSERT_EQ(::pipe2(output, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(output[1], STDERR_FILENO);
    const std::string socket = daemon_->socket_path() + ".second";
    const std::string program = DaemonProgramPath();
    ::execl(program.c_str(), program.c_str(), "--socket", socket.c_str(),
            "--directory", daemon_->directory().c_str(), nullptr);
    ::_exit(127);
  }
  ::close(output[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(output[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(n));
  }
  ::close(output[0]);
  int wait_status = 0;
  ASSERT_EQ(::waitpid(child, &wait_status, 0), child);

  EXPECT_EQ(WEXITSTATUS(wait_status), 1);
  EXPECT_THAT(text, HasSubstr(absl::StrCat("pid ", daemon_->pid())));
}

}  // namespace
}  // namespace kvferry::test
