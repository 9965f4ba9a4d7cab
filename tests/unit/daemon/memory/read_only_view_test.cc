#include "daemon/memory/read_only_view.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::memory {
namespace {

using test::IsOk;
using test::StatusIs;

constexpr uid_t kNobody = 65534;

std::string ProcPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

// What a hostile holder of the descriptor may try.
// Returns the errno of each, 0 for success.
int OpenForWritingErrno(int fd) {
  const UniqueFd again(::open(ProcPath(fd).c_str(), O_RDWR));
  return again.valid() ? 0 : errno;
}
int TruncateErrno(int fd) { return ::ftruncate(fd, 0) == 0 ? 0 : errno; }
int TruncatePathErrno(int fd) {
  return ::truncate(ProcPath(fd).c_str(), 0) == 0 ? 0 : errno;
}
int ChmodErrno(int fd) { return ::fchmod(fd, 0777) == 0 ? 0 : errno; }
int MapWritableErrno(int fd) {
  void* const data =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return errno;
  ::munmap(data, 4096);
  return 0;
}

class ReadOnlyViewTest : public testing::Test {
 protected:
  ReadOnlyViewTest() { std::ofstream(scratch_ / "index") << "content"; }

  void ExpectReadOnly(int fd) {
    char bytes[7] = {};
    EXPECT_EQ(::pread(fd, bytes, sizeof(bytes), 0), 7);
    EXPECT_EQ(std::string(bytes, 7), "content");
    EXPECT_EQ(OpenForWritingErrno(fd), EROFS);
    EXPECT_EQ(TruncatePathErrno(fd), EROFS);
    EXPECT_EQ(ChmodErrno(fd), EROFS);
    EXPECT_EQ(TruncateErrno(fd), EINVAL);
    EXPECT_EQ(MapWritableErrno(fd), EACCES);
  }

  const test::ScratchDirectory scratch_;
};

TEST_F(ReadOnlyViewTest, NobodyWritesThroughItsDescriptors) {
  const auto view = ReadOnlyView::Make(scratch_.path());
  ASSERT_THAT(view, IsOk());
  if (!view->enforced()) GTEST_SKIP() << view->note();
  const auto fd = view->Open("index");
  ASSERT_THAT(fd, IsOk());

  ExpectReadOnly(fd->get());
}

TEST_F(ReadOnlyViewTest, SeesFilesMadeAndWrittenLater) {
  const auto view = ReadOnlyView::Make(scratch_.path());
  ASSERT_THAT(view, IsOk());
  std::ofstream(scratch_ / "later") << "1";
  const auto fd = view->Open("later");
  ASSERT_THAT(fd, IsOk());

  std::ofstream(scratch_ / "later", std::ios::app) << "2";

  char bytes[2] = {};
  EXPECT_EQ(::pread(fd->get(), bytes, 2, 0), 2);
  EXPECT_EQ(std::string(bytes, 2), "12");
}

TEST_F(ReadOnlyViewTest, TheMountOfAUserNamespaceIsAsGood) {
  auto mount = ReadOnlyView::CloneMountInUserNamespace(scratch_.path());
  if (!mount.ok()) GTEST_SKIP() << mount.status().message();
  const UniqueFd fd(::openat(mount->get(), "index", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid());

  ExpectReadOnly(fd.get());
}

// A daemon without rights, in a process of its own: the file's owner cannot
// write either, or the view says that he can.
TEST_F(ReadOnlyViewTest, WithoutRightsItIsEnforcedOrSaysWhyNot) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes somebody else";
  ASSERT_EQ(::chown(scratch_.path().c_str(), kNobody, kNobody), 0);
  ASSERT_EQ(::chown((scratch_ / "index").c_str(), kNobody, kNobody), 0);

  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresgid(kNobody, kNobody, kNobody) != 0 ||
        ::setresuid(kNobody, kNobody, kNobody) != 0) {
      ::_exit(10);
    }
    const auto view = ReadOnlyView::Make(scratch_.path());
    if (!view.ok()) ::_exit(11);
    const auto fd = view->Open("index");
    if (!fd.ok()) ::_exit(12);
    const int reopened = OpenForWritingErrno(fd->get());
    if (view->enforced()) ::_exit(reopened == EROFS ? 0 : 13);
    ::_exit(view->note().find("read-only") != std::string::npos ? 0 : 14);
  }
  int wait_status = 0;
  ASSERT_EQ(::waitpid(child, &wait_status, 0), child);
  EXPECT_TRUE(WIFEXITED(wait_status));
  EXPECT_EQ(WEXITSTATUS(wait_status), 0);
}

TEST_F(ReadOnlyViewTest, FollowsNoLinks) {
  ASSERT_EQ(::symlink("/etc/passwd", (scratch_ / "link").c_str()), 0);
  const auto view = ReadOnlyView::Make(scratch_.path());
  ASSERT_THAT(view, IsOk());

  EXPECT_FALSE(view->Open("link").ok());
  EXPECT_THAT(view->Open("missing"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(ReadOnlyViewMakeTest, AMissingDirectoryIsAnError) {
  EXPECT_THAT(ReadOnlyView::Make("/no/such/directory"),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace kvferry::memory
