#include "daemon/control/listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::control {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  return address;
}

UniqueFd Connect(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const sockaddr_un address = AddressOf(path);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
    socket.reset();
  }
  return socket;
}

mode_t ModeOf(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
}

class ListenerTest : public testing::Test {
 protected:
  const test::ScratchDirectory scratch_;
  const std::string path_ = scratch_ / "run/kvferryd.sock";
};

TEST_F(ListenerTest, AcceptsWhoConnects) {
  auto listener = Listener::Open(path_, /*open_to_others=*/false);
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT(listener->Accept(), StatusIs(absl::StatusCode::kNotFound));

  const UniqueFd client = Connect(path_);

  ASSERT_TRUE(client.valid());
  EXPECT_THAT(listener->Accept(), IsOk());
}

TEST_F(ListenerTest, IsPrivateUnlessOpenToOthers) {
  {
    const auto listener = Listener::Open(path_, /*open_to_others=*/false);
    ASSERT_THAT(listener, IsOk());
    EXPECT_EQ(ModeOf(path_), 0600u);
    EXPECT_EQ(ModeOf(scratch_ / "run"), 0700u);
  }
  std::filesystem::remove_all(scratch_ / "run");
  const auto listener = Listener::Open(path_, /*open_to_others=*/true);
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(ModeOf(path_), 0666u);
  EXPECT_EQ(ModeOf(scratch_ / "run"), 0755u);
}

TEST_F(ListenerTest, AFolderThatIsThereKeepsItsMode) {
  std::filesystem::create_directory(scratch_ / "run");
  ASSERT_EQ(::chmod((scratch_ / "run").c_str(), 0710), 0);

  ASSERT_THAT(Listener::Open(path_, /*open_to_others=*/true), IsOk());

  EXPECT_EQ(ModeOf(scratch_ / "run"), 0710u);
}

TEST_F(ListenerTest, ADeadDaemonsSocketIsReplaced) {
  std::filesystem::create_directory(scratch_ / "run");
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
    const sockaddr_un address = AddressOf(path_);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address),
                     sizeof(address)),
              0);
  }
  ASSERT_TRUE(std::filesystem::exists(path_));

  const auto listener = Listener::Open(path_, /*open_to_others=*/false);

  ASSERT_THAT(listener, IsOk());
  EXPECT_TRUE(Connect(path_).valid());
}

TEST_F(ListenerTest, ALivingDaemonsSocketIsNot) {
  const auto first = Listener::Open(path_, /*open_to_others=*/false);
  ASSERT_THAT(first, IsOk());

  EXPECT_THAT(Listener::Open(path_, /*open_to_others=*/false),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("another daemon listens there")));
  EXPECT_TRUE(Connect(path_).valid());
}

TEST_F(ListenerTest, NeitherIsAFile) {
  std::filesystem::create_directory(scratch_ / "run");
  std::ofstream(path_) << "precious";

  EXPECT_THAT(Listener::Open(path_, /*open_to_others=*/false),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(path_)));
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
}

TEST_F(ListenerTest, ItsPathGoesWithItUnlessItIsAnothers) {
  auto first = Listener::Open(path_, /*open_to_others=*/false);
  ASSERT_THAT(first, IsOk());
  std::filesystem::remove(path_);
  auto second = Listener::Open(path_, /*open_to_others=*/false);
  ASSERT_THAT(second, IsOk());

  first->Close();
  EXPECT_TRUE(std::filesystem::exists(path_));

  { const Listener gone = *std::move(second); }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ListenerTest, ATooLongPathIsNamedWithTheLimit) {
  EXPECT_THAT(Listener::Open(scratch_ / std::string(120, 'x'), false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the limit is 107")));
}

}  // namespace
}  // namespace kvferry::control
