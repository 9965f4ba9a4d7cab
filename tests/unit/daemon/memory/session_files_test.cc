#include "daemon/memory/session_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "daemon/memory/sealed_memfd.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::memory {
namespace {

using test::IsOk;

constexpr uint32_t kBlocks = 1000;
constexpr uint64_t kEpoch = 77;

bool Lock(int fd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

class SessionFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(view_.ok());
    auto made = SessionFiles::Make(*view_, 5, kEpoch, kBlocks);
    ASSERT_THAT(made, IsOk());
    files_ = *std::move(made);
    client_fd_ = files_.TakeClientFd();
  }

  const test::ScratchDirectory scratch_;
  const absl::StatusOr<ReadOnlyView> view_ =
      ReadOnlyView::Make(scratch_.path());
  SessionFiles files_;
  UniqueFd client_fd_;
};

TEST_F(SessionFilesTest, EveryHeaderIsWritten) {
  EXPECT_EQ(files_.daemon_header()->magic, protocol::kDaemonMagic);
  EXPECT_EQ(files_.daemon_header()->session, 5u);
  EXPECT_EQ(files_.daemon_header()->epoch, kEpoch);
  EXPECT_EQ(files_.daemon_header()->layout_version.load(),
            protocol::kLayoutVersion);
  EXPECT_EQ(files_.client_header()->magic, protocol::kClientMagic);
  EXPECT_EQ(files_.client_header()->session, 5u);
  EXPECT_EQ(files_.client_header()->epoch, kEpoch);
  EXPECT_EQ(files_.client_header()->layout_version.load(),
            protocol::kLayoutVersion);
  EXPECT_EQ(files_.progress().header()->magic, protocol::kProgressMagic);
  EXPECT_EQ(files_.progress().header()->session, 5u);
  EXPECT_EQ(files_.progress().header()->epoch, kEpoch);
}

TEST_F(SessionFilesTest, TheDaemonSeesWhatTheClientWrites) {
  const auto client =
      Mapping::Map(client_fd_.get(), protocol::SessionClientFileBytes(kBlocks),
                   Mapping::Access::kReadWrite);
  ASSERT_THAT(client, IsOk());
  auto* pins = client->At<protocol::PinCell>(protocol::kPinsOffset);

  pins[kBlocks - 1].fetch_add(3);

  EXPECT_EQ(files_.pins()[kBlocks - 1].load(), 3);
}

TEST_F(SessionFilesTest, TheClientCannotChangeTheSizeOfItsHalf) {
  EXPECT_NE(::ftruncate(client_fd_.get(), 0), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::ftruncate(client_fd_.get(), 1 << 30), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::fcntl(client_fd_.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_EQ(errno, EPERM);
}

TEST_F(SessionFilesTest, ALockThroughTheClientsDescriptorIsSeenUntilItIsGone) {
  EXPECT_FALSE(files_.client_holds_lock());

  ASSERT_TRUE(Lock(client_fd_.get()));
  EXPECT_TRUE(files_.client_holds_lock());

  client_fd_.reset();
  EXPECT_FALSE(files_.client_holds_lock());
}

TEST_F(SessionFilesTest, SoIsOneThroughADescriptionTheClientOpenedAgain) {
  auto again = OpenAgain(client_fd_.get(), O_RDWR);
  ASSERT_THAT(again, IsOk());
  client_fd_.reset();

  ASSERT_TRUE(Lock(again->get()));

  EXPECT_TRUE(files_.client_holds_lock());
  again->reset();
  EXPECT_FALSE(files_.client_holds_lock());
}

TEST_F(SessionFilesTest, TheDaemonsHalfIsReadOnlyToTheClient) {
  const UniqueFd writable(
      ::open(absl::StrCat("/proc/self/fd/", files_.daemon_reader_fd()).c_str(),
             O_RDWR));
  const int error = errno;
  if (!view_->enforced()) GTEST_SKIP() << view_->note();

  EXPECT_FALSE(writable.valid());
  EXPECT_EQ(error, EROFS);
}

}  // namespace
}  // namespace kvferry::memory
