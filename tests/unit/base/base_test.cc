#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/fork_guard.h"
#include "base/hex.h"
#include "base/mapping.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;

TEST(HexTest, EncodesAndDecodesEveryByte) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<std::byte>(i));
  const std::string hex = HexEncode(bytes);
  EXPECT_EQ(hex.substr(0, 8), "00010203");
  EXPECT_EQ(hex.substr(508), "feff");
  auto decoded = HexDecode(hex);
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(*decoded, bytes);
}

TEST(HexTest, NamesWhatIsWrong) {
  EXPECT_THAT(HexDecode("abc"), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("3 digits")));
  EXPECT_THAT(HexDecode("abxy"), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("\"xy\" at digit 2")));
}

TEST(StatusTest, ErrnoKeepsItsMeaningAndPlace) {
  EXPECT_THAT(ErrnoStatus(ENOENT, "open /x"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("open /x: No such file")));
  EXPECT_THAT(WithContext(ErrnoStatus(EPERM, "mlock"), "segment 3"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("segment 3: mlock")));
  EXPECT_THAT(WithContext(absl::OkStatus(), "x"), IsOk());
}

TEST(UniqueFdTest, ClosesOnceAndMoves) {
  UniqueFd first(::memfd_create("a", 0));
  const int number = first.get();
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(second.get(), number);
  second.reset();
  EXPECT_EQ(::close(number), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST(MappingTest, SharesBytesThroughTheFile) {
  UniqueFd fd(::memfd_create("map", 0));
  ASSERT_EQ(::ftruncate(fd.get(), 8192), 0);
  auto writable = Mapping::Map(fd.get(), 8192, Mapping::Access::kReadWrite);
  auto readable = Mapping::Map(fd.get(), 4096, Mapping::Access::kReadOnly);
  ASSERT_THAT(writable, IsOk());
  ASSERT_THAT(readable, IsOk());
  fd.reset();

  *writable->At<uint32_t>(100) = 42;

  EXPECT_EQ(*readable->At<uint32_t>(100), 42u);
  Mapping moved = *std::move(writable);
  EXPECT_EQ(*moved.At<uint32_t>(100), 42u);
}

TEST(MappingTest, RefusesMoreThanTheFileHas) {
  UniqueFd fd(::memfd_create("map", 0));
  ASSERT_EQ(::ftruncate(fd.get(), 4096), 0);
  EXPECT_THAT(Mapping::Map(fd.get(), 8192, Mapping::Access::kReadOnly),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("8192 bytes wanted of a file of 4096")));
  EXPECT_THAT(Mapping::Map(-1, 4096, Mapping::Access::kReadOnly),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("fstat")));
}

TEST(ForkGuardTest, OnlyTheChildIsForked) {
  ForkGuard guard;
  EXPECT_FALSE(guard.forked());
  const pid_t child = ::fork();
  if (child == 0) {
    ForkGuard fresh;
    ::_exit(guard.forked() && !fresh.forked() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE(guard.forked());
}

}  // namespace
}  // namespace kvferry
