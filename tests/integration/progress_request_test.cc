// Progress files as clients get them, and what the daemon does for readers when
// a publisher dies or stands still.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/integration/raw_publishing_fixture.h"

namespace kvferry::test {
namespace {

using protocol::ProgressRecord;
using protocol::PublicationPhase;
using protocol::PublicationRecord;
using ::testing::AllOf;
using ::testing::HasSubstr;

wire::GetProgressT Get(uint8_t file) {
  wire::GetProgressT get;
  get.file = file;
  return get;
}

class ProgressRequestTest : public RawPublishingTest {
 protected:
  // The publication records of the session's namespace.
  static Mapping MapIndex(const RawSession& session) {
    return *Mapping::Map(
        session.fds[0].get(),
        protocol::IndexFileBytes(session.attached.bucket_count),
        Mapping::Access::kReadOnly);
  }
  static const PublicationRecord& RecordOf(const Mapping& index,
                                           const RawSession& session,
                                           const OpenedPublication& opened) {
    return index.At<PublicationRecord>(protocol::PublicationsOffset(
        session.attached.bucket_count))[opened.slot];
  }
  // The file's number, as the publication's record names it.
  static uint8_t FileOf(const RawSession& session,
                        const OpenedPublication& opened) {
    const Mapping index = MapIndex(session);
    return protocol::UnpackWriterRef(
               RecordOf(index, session, opened).writers[0].load())
        .file;
  }
};

TEST_F(ProgressRequestTest, AReaderGetsASealedFileAndFollowsItReadOnly) {
  RawSession publisher = Attach();
  ASSERT_TRUE(publisher.SealProgress());
  const OpenedPublication opened = Open(publisher, 1);
  auto reader =
      RawSession::Attach(daemon_->socket_path(), Spec(), wire::Access::Read);
  ASSERT_THAT(reader, IsOk());

  std::vector<UniqueFd> fds;
  const auto message =
      reader->connection.Call(Get(FileOf(publisher, opened)), &fds);

  ASSERT_THAT(message, IsOk());
  ASSERT_EQ(fds.size(), 1u);
  EXPECT_EQ(message->body.AsProgressFile()->session,
            publisher.attached.session);
  EXPECT_EQ(message->body.AsProgressFile()->file, FileOf(publisher, opened));
  const auto file = Mapping::Map(fds[0].get(), protocol::kProgressFileBytes,
                                 Mapping::Access::kReadOnly);
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->At<protocol::ProgressHeader>(0)->session,
            publisher.attached.session);
  SetProgress(publisher, opened, 17);
  const uint64_t word =
      file->At<ProgressRecord>(protocol::kProgressRecordsOffset)[opened.record]
          .word.load();
  EXPECT_EQ(protocol::UnpackProgress(word).positions, 17u);
  EXPECT_FALSE(Mapping::Map(fds[0].get(), protocol::kProgressFileBytes,
                            Mapping::Access::kReadWrite)
                   .ok());
}

TEST_F(ProgressRequestTest, NobodyGetsAFileThatIsNotSealed) {
  RawSession publisher = Attach();
  const OpenedPublication opened = Open(publisher, 1);
  const uint8_t file = FileOf(publisher, opened);

  EXPECT_THAT(bystander_->connection.Call(Get(file)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("has not sealed it")));
  // Not even the one who writes it.
  EXPECT_THAT(publisher.connection.Call(Get(file)),
              StatusIs(absl::StatusCode::kFailedPrecondition));

  ASSERT_TRUE(publisher.SealProgress());
  EXPECT_THAT(bystander_->connection.Call(Get(file)), IsOk());
}

TEST_F(ProgressRequestTest, ANumberThatNoSessionHasIsNotFound) {
  EXPECT_THAT(bystander_->connection.Call(Get(255)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("255")));
}

TEST_F(ProgressRequestTest, AFileGoesWithItsSession) {
  RawSession publisher = Attach();
  ASSERT_TRUE(publisher.SealProgress());
  const uint8_t file = FileOf(publisher, Open(publisher, 1));
  ASSERT_THAT(bystander_->connection.Call(Get(file)), IsOk());

  publisher.connection.Send(wire::DetachT());
  ASSERT_TRUE(publisher.connection.ClosedByDaemon());

  EXPECT_THAT(bystander_->connection.Call(Get(file)),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ProgressRequestTest, WithoutASessionItClosesTheConnection) {
  RawClient client = Connect();

  ASSERT_TRUE(client.Send(Get(0)));

  EXPECT_TRUE(client.ClosedByDaemon());
  EXPECT_TRUE(daemon_->WaitForLog("GetProgress before Attach"));
}

// Goal    who asks and does not read does not use up the daemon's descriptors.
// Method  more requests than a socket holds replies to; only then it reads.
TEST_F(ProgressRequestTest, WhoDoesNotReadIsGivenNoMoreDescriptors) {
  RawSession session = Attach();
  ASSERT_TRUE(session.SealProgress());
  const uint8_t file = FileOf(session, Open(session, 1));
  constexpr int kRequests = 1200;
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_TRUE(session.connection.Send(Get(file)));
  }

  int refused = 0;
  for (int answered = 0; answered < kRequests;) {
    const auto message = session.connection.Receive();
    ASSERT_THAT(message, IsOk());
    if (message->id == 0) continue;
    ++answered;
    if (const wire::ErrorT* error = message->body.AsError()) {
      ++refused;
      EXPECT_EQ(error->code,
                static_cast<uint32_t>(absl::StatusCode::kResourceExhausted));
      EXPECT_THAT(error->message, HasSubstr("read the replies"));
    }
  }

  EXPECT_GT(refused, 0);
  EXPECT_THAT(session.connection.Call(Get(file)), IsOk());
}

// Goal    numbers are a namespace's: no session reaches another namespace.
// Method  each of two namespaces has the file 0, one has 1 as well.
TEST(ProgressNamespacesTest, AnotherNamespacesFilesAreOutOfReach) {
  auto daemon =
      DaemonProcess::Start(SmallDaemon({"--namespace-quota", "4MiB"}));
  ASSERT_THAT(daemon, IsOk());
  NamespaceSpec elsewhere = SmallSpec();
  elsewhere.name = "elsewhere";
  const std::string& path = (*daemon)->socket_path();
  auto first = RawSession::Attach(path, SmallSpec());
  ASSERT_THAT(first, IsOk());
  auto second = RawSession::Attach(path, SmallSpec());
  ASSERT_THAT(second, IsOk());
  auto other = RawSession::Attach(path, elsewhere);
  ASSERT_THAT(other, IsOk());
  ASSERT_TRUE(first->SealProgress() && second->SealProgress() &&
              other->SealProgress());

  const auto zero = other->connection.Call(Get(0));

  ASSERT_THAT(zero, IsOk());
  EXPECT_EQ(zero->body.AsProgressFile()->session, other->attached.session);
  EXPECT_THAT(other->connection.Call(Get(1)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(first->connection.Call(Get(1)), IsOk());
}

// Goal    readers that sleep learn of a publisher's death at once, and what it
//         had finished by its own word counts.
// Method  a child begins two blocks, tells one, and is killed; this process
//         sleeps on the publication's word, as a reader does.
TEST_F(ProgressRequestTest, ADeadPublishersReadersAreWoken) {
  const wire::NamespaceStatusT before = Namespace();
  const std::vector<BlockKey> keys = NewKeys(2);
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    RawSession publisher = Attach();
    const OpenedPublication opened = Open(publisher, 1);
    Begin(publisher, 1, 0, keys);
    SetProgress(publisher, opened, 1);
    (void)!::write(ready[1], &opened, sizeof(opened));
    ::pause();
    ::_exit(0);
  }
  OpenedPublication opened;
  ASSERT_EQ(::read(ready[0], &opened, sizeof(opened)),
            static_cast<ssize_t>(sizeof(opened)));
  const Mapping index = MapIndex(*bystander_);
  const PublicationRecord& record = RecordOf(index, *bystander_, opened);
  ASSERT_EQ(record.generation.load(), opened.generation);

  ::kill(child, SIGKILL);
  const absl::Time killed = absl::Now();
  while (true) {
    const uint32_t changes = record.changes.load();
    if (record.phase.load() ==
        static_cast<uint32_t>(PublicationPhase::kEnded)) {
      break;
    }
    const timespec timeout{20, 0};
    const long woken = ::syscall(SYS_futex, &record.changes, FUTEX_WAIT,
                                 changes, &timeout, nullptr, 0);
    ASSERT_TRUE(woken == 0 || errno != ETIMEDOUT);
  }

  EXPECT_LT(absl::Now() - killed, absl::Seconds(1));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const wire::NamespaceStatusT after = Namespace();
  EXPECT_EQ(after.published_blocks, before.published_blocks + 1);
  EXPECT_EQ(after.aborted_blocks, before.aborted_blocks + 1);
  EXPECT_EQ(after.open_publications, before.open_publications);
  EXPECT_TRUE(daemon_->WaitForLog("left 1 blocks unfinished, 1 became ready"));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(ProgressRequestTest, APublisherThatStandsStillIsGivenUpWithAWarning) {
  const wire::NamespaceStatusT before = Namespace();
  RawSession publisher = Attach();
  ASSERT_TRUE(publisher.Lock());
  (void)Open(publisher, 1, protocol::kStallMsMin);
  Begin(publisher, 1, 0, NewKeys(3));
  EXPECT_EQ(Namespace().open_publications, before.open_publications + 1);

  EXPECT_TRUE(daemon_->WaitForLog(
      "stands still: 1 publications given up, 3 blocks of them"));

  const wire::NamespaceStatusT after = Namespace();
  EXPECT_EQ(after.stalled_publications, before.stalled_publications + 1);
  EXPECT_EQ(after.aborted_blocks, before.aborted_blocks + 3);
  // It comes too late, and is told so.
  publisher.PostRange(SubmitType::kCommit, 1, 0, 3);
  publisher.PostClose(1);
  publisher.RingDoorbell();
  uint32_t answered = 0;
  while (answered < 3) {
    const auto reply = publisher.TakeReply(protocol::ReplyType::kAnswer);
    ASSERT_THAT(reply, IsOk());
    EXPECT_EQ(reply->answer,
              static_cast<uint8_t>(protocol::PublishAnswer::kVoid));
    answered += reply->count;
  }
  publisher.connection.Send(wire::DetachT());
}

}  // namespace
}  // namespace kvferry::test
