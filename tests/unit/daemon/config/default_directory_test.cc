#include "daemon/config/default_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "tests/support/scratch_directory.h"

namespace kvferry::config {
namespace {

TEST(DefaultDirectoryTest, IsBesideASocketOnTmpfs) {
  const test::ScratchDirectory scratch;
  ASSERT_TRUE(IsOnTmpfs(scratch.path()));

  EXPECT_EQ(DefaultDirectory(scratch / "kvferryd.sock"),
            scratch / "kvferryd.d");
  // The folder need not be there yet.
  EXPECT_EQ(DefaultDirectory(scratch / "a/b/node.sock"),
            scratch / "a/b/node.d");
}

TEST(DefaultDirectoryTest, IsInSharedMemoryWhenTheSocketIsOnAnotherFileSystem) {
  ASSERT_FALSE(IsOnTmpfs("/proc/self"));

  EXPECT_EQ(DefaultDirectory("/proc/self/kvferryd.sock"),
            "/dev/shm/kvferry-" + std::to_string(::geteuid()));
}

}  // namespace
}  // namespace kvferry::config
