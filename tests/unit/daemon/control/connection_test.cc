#include "daemon/control/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "protocol/limits.h"
#include "tests/support/status_matchers.h"

namespace kvferry::control {
namespace {

namespace wire = protocol::wire;

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

class ConnectionTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(
        ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                     ends),
        0);
    client_.reset(ends[1]);
    auto made = Connection::Make(7, UniqueFd(ends[0]), Peer(), 0, &poller_,
                                 &any_closed_);
    ASSERT_THAT(made, IsOk());
    connection_ = *std::move(made);
  }

  // The next message as the client gets it.
  absl::StatusOr<wire::MessageT> NextAtClient(size_t* fd_count = nullptr) {
    auto packet = protocol::ReceivePacket(client_.get(), 16);
    if (!packet.ok()) return packet.status();
    if (fd_count != nullptr) *fd_count = packet->fds.size();
    return protocol::DecodeMessage(packet->bytes);
  }

  void SendFromClient(const wire::MessageT& message,
                      std::span<const int> fds = {}) {
    const auto bytes = protocol::EncodeMessage(message);
    ASSERT_THAT(bytes, IsOk());
    ASSERT_THAT(protocol::SendPacket(client_.get(), *bytes, fds), IsOk());
  }

  // A reply of about `bytes` bytes.
  void ReplyOf(size_t bytes, uint32_t id, std::span<const int> fds = {}) {
    wire::ErrorT error;
    error.message = std::string(bytes, 'x');
    connection_->Reply(id, std::move(error), fds);
  }

  Poller poller_ = *Poller::Make();
  bool any_closed_ = false;
  UniqueFd client_;
  std::unique_ptr<Connection> connection_;
};

TEST_F(ConnectionTest, RepliesArriveWithTheirDescriptors) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const int fd = event.get();

  connection_->Reply(3, wire::DoneT(), std::span(&fd, 1));

  size_t fd_count = 0;
  const auto message = NextAtClient(&fd_count);
  ASSERT_THAT(message, IsOk());
  EXPECT_EQ(message->id, 3u);
  EXPECT_EQ(message->body.type, wire::Body::Done);
  EXPECT_EQ(fd_count, 1u);
}

TEST_F(ConnectionTest, AnErrorCarriesCodeAndText) {
  connection_->ReplyError(4, absl::NotFoundError("no such thing"));

  const auto message = NextAtClient();
  ASSERT_THAT(message, IsOk());
  ASSERT_NE(message->body.AsError(), nullptr);
  EXPECT_EQ(message->body.AsError()->code,
            static_cast<uint32_t>(absl::StatusCode::kNotFound));
  EXPECT_EQ(message->body.AsError()->message, "no such thing");
}

TEST_F(ConnectionTest, AReplyOverTheLimitBecomesAnError) {
  ReplyOf(protocol::kMessageBytesMax, 5);

  const auto message = NextAtClient();
  ASSERT_THAT(message, IsOk());
  EXPECT_EQ(message->id, 5u);
  ASSERT_NE(message->body.AsError(), nullptr);
  EXPECT_THAT(message->body.AsError()->message, HasSubstr("the limit is"));
  EXPECT_EQ(connection_->end(), Connection::End::kOpen);
}

TEST_F(ConnectionTest, WhatTheSocketDoesNotTakeGoesOutLaterInOrder) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const int fd = event.get();
  constexpr uint32_t kReplies = 30;  // 10 KB each: more than the socket takes

  for (uint32_t i = 0; i < kReplies; ++i) ReplyOf(10'000, i, {&fd, 1});
  ASSERT_EQ(connection_->end(), Connection::End::kOpen);

  for (uint32_t i = 0; i < kReplies; ++i) {
    size_t fd_count = 0;
    auto message = NextAtClient(&fd_count);
    if (absl::IsNotFound(message.status())) {
      const auto events = poller_.Wait(0);
      ASSERT_EQ(events.size(), 1u);
      EXPECT_EQ(events[0].source.id, 7u);
      ASSERT_NE(events[0].events & EPOLLOUT, 0u);
      connection_->Flush();
      message = NextAtClient(&fd_count);
    }
    ASSERT_THAT(message, IsOk());
    EXPECT_EQ(message->id, i);
    EXPECT_EQ(fd_count, 1u);
  }
  connection_->Flush();
  EXPECT_TRUE(poller_.Wait(0).empty());
}

TEST_F(ConnectionTest, WhoDoesNotReadIsCutOff) {
  for (uint32_t i = 0; i < 100; ++i) ReplyOf(10'000, i);

  EXPECT_EQ(connection_->end(), Connection::End::kForCause);
  EXPECT_THAT(connection_->end_reason(), HasSubstr("does not read"));
  EXPECT_TRUE(any_closed_);
}

TEST_F(ConnectionTest, ReceivesMessages) {
  EXPECT_THAT(connection_->Receive(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_FALSE(connection_->greeted());

  SendFromClient(protocol::MakeMessage(9, wire::GetStatusT()));

  const auto message = connection_->Receive();
  ASSERT_THAT(message, IsOk());
  EXPECT_EQ(message->id, 9u);
  EXPECT_TRUE(connection_->greeted());
}

TEST_F(ConnectionTest, GarbageAndDescriptorsAreErrors) {
  const char garbage[] = "no message at all";
  ASSERT_GT(::send(client_.get(), garbage, sizeof(garbage), 0), 0);
  EXPECT_THAT(connection_->Receive(),
              StatusIs(absl::StatusCode::kInvalidArgument));

  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const int fd = event.get();
  SendFromClient(protocol::MakeMessage(9, wire::GetStatusT()), {&fd, 1});
  EXPECT_THAT(
      connection_->Receive(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("descriptors")));
}

TEST_F(ConnectionTest, AClientThatLeftIsUnavailable) {
  client_.reset();

  EXPECT_THAT(connection_->Receive(), StatusIs(absl::StatusCode::kUnavailable));
  connection_->Reply(1, wire::DoneT());
  EXPECT_EQ(connection_->end(), Connection::End::kOrderly);
}

TEST_F(ConnectionTest, TheFirstReasonToCloseStays) {
  connection_->Close(Connection::End::kForCause, "first");
  connection_->Close(Connection::End::kOrderly, "second");

  EXPECT_EQ(connection_->end(), Connection::End::kForCause);
  EXPECT_EQ(connection_->end_reason(), "first");
}

}  // namespace
}  // namespace kvferry::control
