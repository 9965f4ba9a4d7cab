#ifndef KVFERRY_TESTS_INTEGRATION_HOSTILE_CLIENT_FIXTURE_H_
#define KVFERRY_TESTS_INTEGRATION_HOSTILE_CLIENT_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/support/becomes.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_client.h"
#include "tests/support/small_daemon.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {

namespace wire = protocol::wire;
using protocol::SubmitRecord;
using protocol::SubmitType;
inline NamespaceSpec Spec() {
  NamespaceSpec spec;
  spec.name = "test";
  spec.model = "model";
  spec.groups = {OpaqueGroup(16, 4096)};
  return spec;
}

// A daemon, and a bystander whose session must not notice what the test does.
class HostileClientTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto daemon = DaemonProcess::Start(SmallDaemon());
    ASSERT_THAT(daemon, IsOk());
    daemon_ = std::move(*daemon).release();
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(daemon_->Stop(), 0) << daemon_->log();
    delete daemon_;
    daemon_ = nullptr;
  }

  void SetUp() override {
    bystander_ = std::make_unique<RawSession>(Attach());
    ASSERT_TRUE(bystander_->Lock());
  }
  // The bystander's session still works: a run is taken in.
  void TearDown() override {
    ASSERT_TRUE(daemon_->running()) << daemon_->log();
    EXPECT_TRUE(IsServed(*bystander_));
    EXPECT_EQ(bystander_->daemon_header().revoked.load(), 0u);
    bystander_->connection.Send(wire::DetachT());
  }

  static RawSession Attach() {
    auto session = RawSession::Attach(daemon_->socket_path(), Spec());
    EXPECT_THAT(session, IsOk()) << daemon_->log();
    return session.ok() ? *std::move(session) : RawSession();
  }
  static RawClient Connect() {
    auto client = RawClient::Connect(daemon_->socket_path());
    EXPECT_THAT(client, IsOk());
    return client.ok() ? *std::move(client) : RawClient();
  }
  static bool IsServed(RawSession& session) {
    session.PostOpen(77, ++last_publication_);
    session.PostClose(77);
    session.RingDoorbell();
    const uint64_t tail = session.client_header().submit_tail.load();
    return Becomes(
        [&] { return session.daemon_header().submit_consumed.load() == tail; });
  }
  static wire::StatusT Status() {
    RawClient client = Connect();
    auto message = client.Call(wire::GetStatusT());
    EXPECT_THAT(message, IsOk());
    return message.ok() ? *message->body.AsStatus() : wire::StatusT();
  }
  // How many sessions there are beside the bystander's.
  static uint32_t OtherSessions() { return Status().session_count - 1; }

  void ExpectRevoked(RawSession& session, const std::string& reason) {
    EXPECT_TRUE(session.connection.ClosedByDaemon());
    EXPECT_TRUE(
        Becomes([&] { return session.daemon_header().revoked.load() != 0; }));
    EXPECT_TRUE(daemon_->WaitForLog(reason)) << daemon_->log();
  }

  static inline DaemonProcess* daemon_ = nullptr;
  static inline uint64_t last_publication_ = 0;
  std::unique_ptr<RawSession> bystander_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_HOSTILE_CLIENT_FIXTURE_H_
