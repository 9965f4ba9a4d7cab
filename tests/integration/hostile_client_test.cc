// What clients that break the protocol get: their session is closed with a
// logged reason, and nobody else notices anything.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "protocol/limits.h"
#include "tests/integration/hostile_client_fixture.h"

namespace kvferry::test {
namespace {

// --- the socket ---

TEST_F(HostileClientTest, GarbageClosesTheConnection) {
  RawClient client = Connect();
  std::vector<std::byte> garbage(1000);
  for (size_t i = 0; i < garbage.size(); ++i) {
    garbage[i] = static_cast<std::byte>(i * 37 + 11);
  }

  ASSERT_TRUE(client.SendBytes(garbage));

  EXPECT_TRUE(client.ClosedByDaemon());
  EXPECT_TRUE(daemon_->WaitForLog("1000 bytes that are no valid KVFC buffer"));
}

TEST_F(HostileClientTest, ATruncatedMessageClosesTheConnection) {
  const auto bytes =
      protocol::EncodeMessage(protocol::MakeMessage(1, MakeAttach(Spec())));
  ASSERT_THAT(bytes, IsOk());
  for (const size_t length : {size_t{1}, size_t{7}, bytes->size() / 2}) {
    RawClient client = Connect();
    ASSERT_TRUE(client.SendBytes(std::span(*bytes).first(length)));
    EXPECT_TRUE(client.ClosedByDaemon()) << length << " bytes";
  }
}

TEST_F(HostileClientTest, AnOversizedPacketClosesTheConnection) {
  RawClient client = Connect();
  const std::vector<std::byte> large(protocol::kMessageBytesMax + 1);

  ASSERT_TRUE(client.SendBytes(large));

  EXPECT_TRUE(client.ClosedByDaemon());
  EXPECT_TRUE(daemon_->WaitForLog("longer than the limit of 65536 bytes"));
}

TEST_F(HostileClientTest, DescriptorsThatNobodyAskedForCloseIt) {
  const auto bytes =
      protocol::EncodeMessage(protocol::MakeMessage(1, wire::GetStatusT()));
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  for (const size_t count : {size_t{1}, size_t{200}}) {
    RawClient client = Connect();
    const std::vector<int> fds(count, event.get());
    ASSERT_TRUE(client.SendBytes(*bytes, fds));
    EXPECT_TRUE(client.ClosedByDaemon()) << count << " descriptors";
  }
  EXPECT_TRUE(daemon_->WaitForLog("descriptors, expected at most 0"));
}

TEST_F(HostileClientTest, SilenceIsCutOffAfterTheHandshakeDeadline) {
  RawClient client = Connect();

  EXPECT_TRUE(client.ClosedByDaemon());
  EXPECT_TRUE(daemon_->WaitForLog("no message within 2000 ms"));
}

TEST_F(HostileClientTest, WhoDoesNotReadIsCutOff) {
  RawClient client = Connect();
  // Answers of some hundred bytes each; sending ends when the daemon closed.
  ASSERT_TRUE(Becomes([&] { return !client.Send(wire::GetStatusT()); }));

  EXPECT_TRUE(daemon_->WaitForLog("does not read"));
}

TEST_F(HostileClientTest, AUserHasALimitOfConnections) {
  std::vector<RawClient> clients;
  for (uint32_t i = 0; i < protocol::kConnectionsPerUserMax + 8; ++i) {
    clients.push_back(Connect());
  }

  EXPECT_TRUE(daemon_->WaitForLog("connections, the limit is 512"));
}

// --- order ---

TEST_F(HostileClientTest, SessionMessagesBeforeAttachCloseIt) {
  wire::MintTicketT mint;
  mint.keys.emplace_back(1, 1);
  RawClient client = Connect();

  ASSERT_TRUE(client.Send(std::move(mint)));

  EXPECT_TRUE(client.ClosedByDaemon());
  EXPECT_TRUE(daemon_->WaitForLog("MintTicket before Attach"));
}

TEST_F(HostileClientTest, ASecondAttachRevokesTheSession) {
  RawSession session = Attach();

  ASSERT_TRUE(session.connection.Send(MakeAttach(Spec())));

  ExpectRevoked(session, "a second Attach");
}

TEST_F(HostileClientTest, WhatOnlyDaemonsSendClosesIt) {
  RawClient client = Connect();

  ASSERT_TRUE(client.Send(wire::AttachedT()));

  EXPECT_TRUE(client.ClosedByDaemon());
  EXPECT_TRUE(daemon_->WaitForLog("Attached, which only daemons send"));
}

// --- rings ---

TEST_F(HostileClientTest, ATailThatJumpsRevokesTheSession) {
  RawSession session = Attach();
  session.client_header().submit_tail.store(1'000'000);
  session.RingDoorbell();

  ExpectRevoked(session, "tail 1000000 with 0 records taken");
}

TEST_F(HostileClientTest, AnImpossibleBlockRevokesTheSession) {
  RawSession session = Attach();
  SubmitRecord record{};
  record.type = static_cast<uint8_t>(SubmitType::kReturn);
  record.give_back.count = 1;
  record.give_back.blocks[0] = 0xfff'fff0;
  session.Post(record);
  session.RingDoorbell();

  ExpectRevoked(session, "session ");
}

TEST_F(HostileClientTest, AnUnknownRecordTypeRevokesTheSession) {
  RawSession session = Attach();
  SubmitRecord record{};
  record.type = 200;
  session.Post(record);
  session.RingDoorbell();

  ExpectRevoked(session, "200");
}

TEST_F(HostileClientTest, AReplyPositionThatLiesRevokesTheSession) {
  RawSession session = Attach();
  session.client_header().reply_consumed.store(uint64_t{1} << 60);

  ExpectRevoked(session, "records read");
}

TEST_F(HostileClientTest, EveryByteOfItsHalfMayBeGarbage) {
  RawSession session = Attach();
  uint32_t state = 12345;
  std::byte* const bytes = session.client.data();
  for (uint64_t i = 0; i < session.client.size(); ++i) {
    state = state * 1664525 + 1013904223;
    bytes[i] = static_cast<std::byte>(state >> 24);
  }
  session.RingDoorbell();

  EXPECT_TRUE(session.connection.ClosedByDaemon());
}

TEST_F(HostileClientTest, ADoorbellThatIsMadeToBlockStallsNobody) {
  RawSession session = Attach();
  const int flags = ::fcntl(session.fds[4].get(), F_GETFL);
  ASSERT_EQ(::fcntl(session.fds[4].get(), F_SETFL, flags & ~O_NONBLOCK), 0);

  for (int i = 0; i < 100; ++i) {
    session.RingDoorbell();
    // Takes the ring away before the daemon can look at it.
    uint64_t count;
    ASSERT_EQ(::read(session.fds[4].get(), &count, sizeof(count)), 8);
  }

  EXPECT_TRUE(IsServed(*bystander_));
}

// --- the end of sessions ---

TEST_F(HostileClientTest, ARevokedSessionStaysUntilItsLockIsFree) {
  RawSession session = Attach();
  ASSERT_TRUE(session.Lock());
  session.client_header().submit_tail.store(1'000'000);
  session.RingDoorbell();
  ASSERT_TRUE(session.connection.ClosedByDaemon());
  // Long enough for several looks of the daemon.
  EXPECT_FALSE(
      Becomes([] { return OtherSessions() == 0; }, absl::Milliseconds(300)));

  session.LetGo();

  EXPECT_TRUE(Becomes([] { return OtherSessions() == 0; }));
}

TEST_F(HostileClientTest, AClosedSocketEndsNothingWhileTheLockIsHeld) {
  RawSession session = Attach();
  ASSERT_TRUE(session.Lock());
  session.connection.CloseSocket();
  EXPECT_FALSE(
      Becomes([] { return OtherSessions() == 0; }, absl::Milliseconds(300)));
  EXPECT_TRUE(IsServed(session));
  EXPECT_EQ(session.daemon_header().revoked.load(), 0u);

  session.LetGo();

  EXPECT_TRUE(Becomes([] { return OtherSessions() == 0; }));
}

TEST_F(HostileClientTest, DetachEndsItAtOnce) {
  RawSession session = Attach();
  ASSERT_TRUE(session.Lock());

  ASSERT_TRUE(session.connection.Send(wire::DetachT()));

  EXPECT_TRUE(session.connection.ClosedByDaemon());
  EXPECT_EQ(OtherSessions(), 0u);
}

TEST_F(HostileClientTest, AKilledProcessIsGoneWithinASecond) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    RawSession session = Attach();
    const bool locked = session.Lock();
    (void)!::write(ready[1], &locked, 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(OtherSessions(), 1u);

  ::kill(child, SIGKILL);
  const absl::Time killed = absl::Now();
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);

  EXPECT_TRUE(Becomes([] { return OtherSessions() == 0; }));
  EXPECT_LT(absl::Now() - killed, absl::Seconds(1));
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace kvferry::test
