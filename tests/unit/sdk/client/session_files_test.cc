#include "sdk/session_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;

// A file of the daemon's making: zeros, sealed against resizing.
UniqueFd MakeFile(const char* name, uint64_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  return fd;
}

class SessionFilesTest : public testing::Test {
 protected:
  static constexpr uint64_t kEpoch = 11;
  static constexpr uint32_t kSession = 3;

  SessionFilesTest() {
    attached_.epoch = kEpoch;
    attached_.session = kSession;
    attached_.namespace_id = 5;
    attached_.block_capacity = 8;
    attached_.bucket_count = protocol::BucketCountFor(8);

    auto* const index = index_ = Add<protocol::IndexHeader>(
        "index", protocol::IndexFileBytes(attached_.bucket_count),
        protocol::kIndexMagic);
    index->epoch = kEpoch;
    index->namespace_id = attached_.namespace_id;
    index->block_capacity = attached_.block_capacity;
    index->host_blocks = attached_.block_capacity;
    index->bucket_count = attached_.bucket_count;
    index->group_count = 1;
    index->groups[0].block_tokens = 16;
    index->groups[0].slice_count = 1;
    index->groups[0].page_bytes = 4096;
    index->groups[0].stride_bytes = 4096;
    index->groups[0].block_count = 8;
    index->groups[0].blocks_per_segment = 8;
    auto* state = Add<protocol::StateHeader>(
        "state", protocol::StateFileBytes(8), protocol::kStateMagic);
    state->block_capacity = 8;
    auto* daemon = Add<protocol::SessionDaemonHeader>(
        "daemon", protocol::kSessionDaemonFileBytes, protocol::kDaemonMagic);
    daemon->epoch = kEpoch;
    daemon->session = kSession;
    auto* client = Add<protocol::SessionClientHeader>(
        "client", protocol::SessionClientFileBytes(8), protocol::kClientMagic);
    client->epoch = kEpoch;
    client->session = kSession;
    fds_.emplace_back(::eventfd(0, EFD_CLOEXEC));
    progress_ = Add<protocol::ProgressHeader>(
        "progress", protocol::kProgressFileBytes, protocol::kProgressMagic);
    progress_->epoch = kEpoch;
    progress_->session = kSession;
    progress_fd_ = UniqueFd(::dup(fds_.back().get()));
  }

  template <typename Header>
  Header* Add(const char* name, uint64_t bytes, uint64_t magic) {
    fds_.push_back(MakeFile(name, bytes));
    auto mapping =
        Mapping::Map(fds_.back().get(), bytes, Mapping::Access::kReadWrite);
    EXPECT_THAT(mapping, IsOk());
    auto* header = mapping->At<Header>(0);
    header->magic = magic;
    header->layout_version.store(protocol::kLayoutVersion);
    mappings_.push_back(*std::move(mapping));
    return header;
  }
  absl::StatusOr<SessionFiles> OpenAll() {
    return OpenSessionFiles(attached_, std::move(fds_),
                            absl::Now() + absl::Milliseconds(20));
  }

  protocol::wire::AttachedT attached_;
  std::vector<UniqueFd> fds_;
  std::vector<Mapping> mappings_;
  protocol::IndexHeader* index_ = nullptr;
  protocol::ProgressHeader* progress_ = nullptr;
  UniqueFd progress_fd_;
};

TEST_F(SessionFilesTest, SixFilesAreMapped) {
  const auto files = OpenAll();
  ASSERT_THAT(files, IsOk());
  const SessionMemory memory = files->memory();
  EXPECT_EQ(memory.index->epoch, kEpoch);
  EXPECT_EQ(memory.client->session, kSession);
  EXPECT_EQ(memory.progress->session, kSession);
  EXPECT_GE(files->doorbell.get(), 0);
}

// Goal    This process goes on writing its progress; nobody else ever can.
TEST_F(SessionFilesTest, TheProgressFileIsSealedAgainstOtherWriters) {
  const auto files = OpenAll();
  ASSERT_THAT(files, IsOk());

  const int seals = ::fcntl(progress_fd_.get(), F_GET_SEALS);
  EXPECT_EQ(seals & (F_SEAL_FUTURE_WRITE | F_SEAL_SEAL),
            F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
  EXPECT_FALSE(Mapping::Map(progress_fd_.get(), protocol::kProgressFileBytes,
                            Mapping::Access::kReadWrite)
                   .ok());
  const auto reader =
      Mapping::Map(progress_fd_.get(), protocol::kProgressFileBytes,
                   Mapping::Access::kReadOnly);
  ASSERT_THAT(reader, IsOk());
  auto* mine = files->progress.At<protocol::ProgressRecord>(
      protocol::kProgressRecordsOffset);
  mine->word.store(42);
  EXPECT_EQ(
      reader
          ->At<const protocol::ProgressRecord>(protocol::kProgressRecordsOffset)
          ->word.load(),
      42);
}

TEST_F(SessionFilesTest, AMissingDescriptorIsCounted) {
  fds_.pop_back();
  EXPECT_THAT(OpenAll(), StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("5 descriptors, must be 6")));
}

TEST_F(SessionFilesTest, AnotherSessionsProgressFileIsRefused) {
  progress_->session = 4;
  EXPECT_THAT(OpenAll(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("session progress file: session is 4, the "
                                 "daemon said 3")));
}

TEST_F(SessionFilesTest, AProgressFileOfAnotherEpochIsRefused) {
  progress_->epoch = 12;
  EXPECT_THAT(OpenAll(), StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("epoch is 12")));
}

TEST_F(SessionFilesTest, AProgressFileThatIsNoneIsRefused) {
  progress_->magic = protocol::kClientMagic;
  EXPECT_THAT(OpenAll(), StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("session progress file: magic")));
}

TEST_F(SessionFilesTest, AnotherLayoutIsRefused) {
  progress_->layout_version.store(1);
  EXPECT_THAT(OpenAll(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("layout version 1, this library knows 3")));
  EXPECT_EQ(::fcntl(progress_fd_.get(), F_GET_SEALS) & F_SEAL_FUTURE_WRITE, 0);
}

TEST_F(SessionFilesTest, AHeaderThatIsNotFinishedIsWaitedFor) {
  progress_->layout_version.store(0);
  EXPECT_THAT(OpenAll(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                  HasSubstr("session progress file")));
}

TEST_F(SessionFilesTest, AShortProgressFileIsRefused) {
  fds_.back() = MakeFile("short", protocol::kProgressFileBytes - 4096);
  EXPECT_THAT(OpenAll(), StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("session progress file")));
}

TEST_F(SessionFilesTest, AProgressFileThatCannotBeSealedIsRefused) {
  ASSERT_EQ(::fcntl(progress_fd_.get(), F_ADD_SEALS, F_SEAL_SEAL), 0);
  EXPECT_THAT(OpenAll(), StatusIs(absl::StatusCode::kPermissionDenied,
                                  HasSubstr("sealing")));
}

// Goal    Every block number is the host's or one pool's.
// Method  A header with one host group and two pools, then one wrong value at a
//         time; the error names it.
class SessionFilesPoolsTest : public SessionFilesTest {
 protected:
  SessionFilesPoolsTest() {
    index_->host_blocks = 4;
    index_->groups[0].block_count = 4;
    index_->gpu_pool_count = 2;
    index_->gpu_pools[0].first_block = 4;
    index_->gpu_pools[0].block_count = 1;
    index_->gpu_pools[1].first_block = 5;
    index_->gpu_pools[1].block_count = 3;
  }
  void ExpectRefused(const char* what) {
    EXPECT_THAT(OpenAll(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  }
};

TEST_F(SessionFilesPoolsTest, PoolsAfterTheHostsBlocksAreTaken) {
  const auto files = OpenAll();
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->memory().index->gpu_pool_count, 2);
}

TEST_F(SessionFilesPoolsTest, HostBlocksAreNoMoreThanAll) {
  index_->host_blocks = 9;
  ExpectRefused("9 host blocks of 8");
}

TEST_F(SessionFilesPoolsTest, HostBlocksAreSome) {
  index_->host_blocks = 0;
  ExpectRefused("0 host blocks of 8");
}

TEST_F(SessionFilesPoolsTest, ThereIsALimitOfPools) {
  index_->gpu_pool_count = protocol::kGpuPoolsMax + 1;
  ExpectRefused("33 GPU pools (at most 32)");
}

TEST_F(SessionFilesPoolsTest, AGroupsBlocksAreTheHosts) {
  index_->groups[0].block_count = 5;
  ExpectRefused("group 0 has 16 tokens a block");
}

TEST_F(SessionFilesPoolsTest, APoolIsOfAGroup) {
  index_->gpu_pools[1].group = 1;
  ExpectRefused(
      "GPU pool 2 has blocks [5, +3) of 8, must begin at 5, and is "
      "of group 1 of 1");
}

TEST_F(SessionFilesPoolsTest, PoolsDoNotOverlap) {
  index_->gpu_pools[1].first_block = 4;
  ExpectRefused("GPU pool 2 has blocks [4, +3) of 8, must begin at 5");
}

TEST_F(SessionFilesPoolsTest, PoolsDoNotReachIntoTheHosts) {
  index_->gpu_pools[0].first_block = 3;
  ExpectRefused("GPU pool 1 has blocks [3, +1)");
}

TEST_F(SessionFilesPoolsTest, APoolEndsWithTheNumbers) {
  index_->gpu_pools[1].block_count = 4;
  ExpectRefused("GPU pool 2 has blocks [5, +4) of 8");
}

TEST_F(SessionFilesPoolsTest, NoNumberIsNobodys) {
  index_->gpu_pools[1].block_count = 2;
  ExpectRefused("2 GPU pools are 7, must be 8");
}

}  // namespace
}  // namespace kvferry::sdk
