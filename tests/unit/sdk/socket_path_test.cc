#include "base/socket_path.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "kvferry/options.h"

namespace kvferry {
namespace {

TEST(SocketPathTest, TheVariableWinsForEveryUser) {
  EXPECT_EQ(SocketPathFor("/x/y.sock", "/run/user/1000", 1000), "/x/y.sock");
  EXPECT_EQ(SocketPathFor("/x/y.sock", nullptr, 0), "/x/y.sock");
}

TEST(SocketPathTest, RootUsesTheSystemsDirectory) {
  EXPECT_EQ(SocketPathFor(nullptr, "/run/user/0", 0),
            "/run/kvferry/kvferryd.sock");
}

TEST(SocketPathTest, AUserUsesTheRuntimeDirectory) {
  EXPECT_EQ(SocketPathFor(nullptr, "/run/user/1000", 1000),
            "/run/user/1000/kvferry/kvferryd.sock");
}

TEST(SocketPathTest, AUserWithoutRuntimeDirectoryGetsOneOfHisOwnInTmp) {
  EXPECT_EQ(SocketPathFor(nullptr, nullptr, 1000),
            "/tmp/kvferry-1000/kvferryd.sock");
}

TEST(SocketPathTest, EmptyVariablesCountAsNotSet) {
  EXPECT_EQ(SocketPathFor("", "", 1000), "/tmp/kvferry-1000/kvferryd.sock");
  EXPECT_EQ(SocketPathFor("", "", 0), "/run/kvferry/kvferryd.sock");
}

TEST(SocketPathTest, ARelativeRuntimeDirectoryIsIgnored) {
  EXPECT_EQ(SocketPathFor(nullptr, "run", 7), "/tmp/kvferry-7/kvferryd.sock");
}

class DefaultSocketPathTest : public testing::Test {
 protected:
  DefaultSocketPathTest() {
    Save("KVFERRY_SOCKET", &socket_, &had_socket_);
    Save("XDG_RUNTIME_DIR", &runtime_directory_, &had_runtime_directory_);
  }
  ~DefaultSocketPathTest() override {
    Restore("KVFERRY_SOCKET", socket_, had_socket_);
    Restore("XDG_RUNTIME_DIR", runtime_directory_, had_runtime_directory_);
  }

 private:
  static void Save(const char* name, std::string* value, bool* had) {
    const char* const now = ::getenv(name);
    *had = now != nullptr;
    if (*had) *value = now;
  }
  static void Restore(const char* name, const std::string& value, bool had) {
    if (had) {
      ::setenv(name, value.c_str(), 1);
    } else {
      ::unsetenv(name);
    }
  }

  std::string socket_;
  bool had_socket_ = false;
  std::string runtime_directory_;
  bool had_runtime_directory_ = false;
};

TEST_F(DefaultSocketPathTest, ReadsTheEnvironmentAtEveryCall) {
  ::setenv("KVFERRY_SOCKET", "/one.sock", 1);
  EXPECT_EQ(DefaultSocketPath(), "/one.sock");

  ::setenv("KVFERRY_SOCKET", "/two.sock", 1);
  EXPECT_EQ(DefaultSocketPath(), "/two.sock");
}

TEST_F(DefaultSocketPathTest, FollowsTheRuntimeDirectoryAndTheUser) {
  ::unsetenv("KVFERRY_SOCKET");
  ::setenv("XDG_RUNTIME_DIR", "/run/user/test", 1);

  EXPECT_EQ(DefaultSocketPath(),
            SocketPathFor(nullptr, "/run/user/test", ::geteuid()));
}

}  // namespace
}  // namespace kvferry
