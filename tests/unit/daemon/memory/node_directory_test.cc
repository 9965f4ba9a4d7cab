#include "daemon/memory/node_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::memory {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixMicros(1'000'000);

class NodeDirectoryTest : public testing::Test {
 protected:
  const test::ScratchDirectory scratch_;
  const std::string path_ = scratch_ / "deep/node";
};

TEST_F(NodeDirectoryTest, IsMadePrivate) {
  const auto directory = NodeDirectory::Open(path_, kNow);

  ASSERT_THAT(directory, IsOk());
  struct stat found {};
  ASSERT_EQ(::stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat((path_ + "/secret").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
}

TEST_F(NodeDirectoryTest, EpochsGrowEvenWhenTheClockGoesBack) {
  std::optional<NodeDirectory> directory = *NodeDirectory::Open(path_, kNow);
  EXPECT_EQ(directory->epoch(), 1'000'000u);
  directory.reset();

  directory = *NodeDirectory::Open(path_, kNow - absl::Hours(1));
  EXPECT_EQ(directory->epoch(), 1'000'001u);
  directory.reset();

  directory = *NodeDirectory::Open(path_, kNow + absl::Seconds(1));
  EXPECT_EQ(directory->epoch(), 2'000'000u);
}

TEST_F(NodeDirectoryTest, SecretAndNodeStayTheSame) {
  std::optional<NodeDirectory> directory = *NodeDirectory::Open(path_, kNow);
  const auto secret = directory->secret();
  const auto node_id = directory->node_id();
  EXPECT_NE(secret, (std::array<std::byte, 32>{}));
  directory.reset();

  directory = *NodeDirectory::Open(path_, kNow);

  EXPECT_EQ(directory->secret(), secret);
  EXPECT_EQ(directory->node_id(), node_id);
}

TEST_F(NodeDirectoryTest, ASecretOfAnotherLengthIsReplaced) {
  std::filesystem::create_directories(path_);
  std::ofstream(path_ + "/secret") << "short";

  const auto directory = NodeDirectory::Open(path_, kNow);

  ASSERT_THAT(directory, IsOk());
  EXPECT_EQ(std::filesystem::file_size(path_ + "/secret"), 32u);
}

TEST_F(NodeDirectoryTest, ASecondDaemonIsRefusedWithTheFirstOnesPid) {
  const auto directory = NodeDirectory::Open(path_, kNow);
  ASSERT_THAT(directory, IsOk());

  EXPECT_THAT(NodeDirectory::Open(path_, kNow),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr(absl::StrCat("pid ", ::getpid()))));
}

TEST_F(NodeDirectoryTest, ALinkInItsPlaceIsRefused) {
  std::filesystem::create_directories(scratch_ / "elsewhere");
  std::filesystem::create_directories(scratch_ / "deep");
  std::filesystem::create_directory_symlink(scratch_ / "elsewhere", path_);

  EXPECT_THAT(NodeDirectory::Open(path_, kNow),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(NodeDirectoryTest, SomebodyElsesDirectoryIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  std::filesystem::create_directories(path_);
  ASSERT_EQ(::chown(path_.c_str(), 65534, 65534), 0);

  EXPECT_THAT(NodeDirectory::Open(path_, kNow),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("belongs to user 65534")));
}

TEST_F(NodeDirectoryTest, RemovesSharedFilesAndNothingElse) {
  auto directory = NodeDirectory::Open(path_, kNow);
  ASSERT_THAT(directory, IsOk());
  for (const char* name : {"index.0", "state.0", "session.17", "other"}) {
    std::ofstream(path_ + "/" + name) << "content";
  }
  // A client of the earlier daemon still has it open, and keeps its bytes.
  std::ifstream open_file(path_ + "/index.0");

  EXPECT_EQ(directory->RemoveSharedFiles(), 3);

  EXPECT_FALSE(std::filesystem::exists(path_ + "/index.0"));
  EXPECT_TRUE(std::filesystem::exists(path_ + "/other"));
  EXPECT_TRUE(std::filesystem::exists(path_ + "/secret"));
  std::string content;
  open_file >> content;
  EXPECT_EQ(content, "content");
}

}  // namespace
}  // namespace kvferry::memory
