#include "protocol/framing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "gmock/gmock.h"
#include "protocol/limits.h"
#include "tests/support/status_matchers.h"

namespace kvferry::protocol {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;

class FramingTest : public testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    near_.reset(fds[0]);
    far_.reset(fds[1]);
  }
  UniqueFd near_, far_;
};

TEST_F(FramingTest, AMessageArrivesAsItWasSent) {
  wire::ClearT clear;
  clear.namespace_name = "a";
  auto bytes = EncodeMessage(MakeMessage(7, std::move(clear)));
  ASSERT_THAT(bytes, IsOk());
  ASSERT_THAT(SendPacket(near_.get(), *bytes, {}), IsOk());

  auto packet = ReceivePacket(far_.get(), 0);
  ASSERT_THAT(packet, IsOk());
  auto message = DecodeMessage(packet->bytes);

  ASSERT_THAT(message, IsOk());
  EXPECT_EQ(message->id, 7u);
  ASSERT_NE(message->body.AsClear(), nullptr);
  EXPECT_EQ(message->body.AsClear()->namespace_name, "a");
}

TEST_F(FramingTest, DescriptorsTravelAndAreCloseOnExec) {
  const int fd = ::memfd_create("test", 0);
  const std::byte byte{};
  ASSERT_THAT(SendPacket(near_.get(), {&byte, 1}, {&fd, 1}), IsOk());
  ::close(fd);

  auto packet = ReceivePacket(far_.get(), 1);

  ASSERT_THAT(packet, IsOk());
  ASSERT_EQ(packet->fds.size(), 1u);
  EXPECT_NE(::fcntl(packet->fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(FramingTest, MoreDescriptorsThanAllowedAreClosedAndAnError) {
  const int fds[2] = {::memfd_create("a", 0), ::memfd_create("b", 0)};
  const std::byte byte{};
  ASSERT_THAT(SendPacket(near_.get(), {&byte, 1}, fds), IsOk());
  const int before = ::dup(0);  // the lowest free number
  ::close(before);

  EXPECT_THAT(ReceivePacket(far_.get(), 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("2 or more descriptors")));

  const int after = ::dup(0);
  EXPECT_EQ(after, before);
  ::close(after);
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(FramingTest, NothingThereAndAClosedPeerAreDifferent) {
  EXPECT_THAT(ReceivePacket(far_.get(), 0),
              StatusIs(absl::StatusCode::kNotFound));
  near_.reset();
  EXPECT_THAT(ReceivePacket(far_.get(), 0),
              StatusIs(absl::StatusCode::kUnavailable));
  const std::byte byte{};
  EXPECT_THAT(SendPacket(far_.get(), {&byte, 1}, {}),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(FramingTest, AFullSocketRefusesInsteadOfBlocking) {
  std::vector<std::byte> bytes(1000);
  absl::Status status;
  for (int i = 0; i < 100000 && status.ok(); ++i) {
    status = SendPacket(near_.get(), bytes, {});
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(FramingTest, OversizedPacketsAreRefused) {
  const int size = 1 << 20;
  ::setsockopt(near_.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  std::vector<std::byte> bytes(kMessageBytesMax + 1);
  ASSERT_EQ(::send(near_.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_THAT(ReceivePacket(far_.get(), 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("65536")));
}

TEST(DecodeTest, GarbageOfEveryLengthIsRefused) {
  std::mt19937 random(1);
  for (size_t length = 0; length < 512; ++length) {
    std::vector<std::byte> bytes(length);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    EXPECT_THAT(DecodeMessage(bytes),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

// Goal    No damaged message is read outside its bytes (ASan watches) or
//         taken for one with a body it has not.
// Method  Every byte of a valid message set to random values, and every
//         truncation of it.
TEST(DecodeTest, DamagedMessagesAreRefusedOrHarmless) {
  wire::AttachT attach;
  attach.spec = std::make_unique<wire::NamespaceSpecT>();
  attach.spec->name = "name";
  attach.spec->groups.push_back(std::make_unique<wire::GroupT>());
  attach.fingerprint.resize(32, 1);
  auto bytes = EncodeMessage(MakeMessage(1, std::move(attach)));
  ASSERT_THAT(bytes, IsOk());
  std::mt19937 random(2);
  uint32_t refused = 0;
  for (size_t i = 0; i < bytes->size(); ++i) {
    for (int tries = 0; tries < 16; ++tries) {
      std::vector<std::byte> damaged = *bytes;
      damaged[i] = static_cast<std::byte>(random());
      refused += DecodeMessage(damaged).ok() ? 0 : 1;
    }
  }
  EXPECT_GT(refused, 0u);
  for (size_t length = 0; length < bytes->size(); ++length) {
    (void)DecodeMessage({bytes->data(), length});
  }
}

TEST(EncodeTest, AMessageOverTheLimitNamesIt) {
  wire::ErrorT error;
  error.message.assign(kMessageBytesMax, 'x');
  EXPECT_THAT(EncodeMessage(MakeMessage(1, std::move(error))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("65536")));
}

}  // namespace
}  // namespace kvferry::protocol
