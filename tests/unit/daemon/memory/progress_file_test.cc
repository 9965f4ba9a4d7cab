#include "daemon/memory/progress_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "daemon/memory/sealed_memfd.h"
#include "tests/support/status_matchers.h"

namespace kvferry::memory {
namespace {

using protocol::kProgressFileBytes;
using test::IsOk;

constexpr uint16_t kSession = 5;
constexpr uint64_t kEpoch = 77;

// The file, and the client's descriptor of it.
class ProgressFileTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = ProgressFile::Make(kSession, kEpoch);
    ASSERT_THAT(made, IsOk());
    file_ = *std::move(made);
    client_fd_ = file_.TakeClientFd();
    ASSERT_TRUE(client_fd_.valid());
  }
  bool Seal(int fd) {
    return ::fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0;
  }
  absl::StatusOr<Mapping> Map(int fd, Mapping::Access access) {
    return Mapping::Map(fd, kProgressFileBytes, access);
  }

  ProgressFile file_;
  UniqueFd client_fd_;
};

TEST_F(ProgressFileTest, TheHeaderIsWrittenAndTheRestIsZero) {
  const protocol::ProgressHeader* header = file_.header();
  EXPECT_EQ(header->magic, protocol::kProgressMagic);
  EXPECT_EQ(header->layout_version.load(), protocol::kLayoutVersion);
  EXPECT_EQ(header->session, kSession);
  EXPECT_EQ(header->epoch, kEpoch);
  const auto reader = Map(file_.reader_fd(), Mapping::Access::kReadOnly);
  ASSERT_THAT(reader, IsOk());
  const auto* records =
      reader->At<protocol::ProgressRecord>(protocol::kProgressRecordsOffset);
  for (uint32_t i = 0; i < protocol::kProgressRecords; ++i) {
    ASSERT_EQ(records[i].word.load(), 0u) << i;
    ASSERT_EQ(records[i].hand_over_bytes.load(), 0u) << i;
  }
}

// Hand-over data are a megabyte that most sessions never use.
TEST_F(ProgressFileTest, OnlyHeaderAndRecordsTakeMemory) {
  struct stat stat {};
  ASSERT_EQ(::fstat(client_fd_.get(), &stat), 0);

  EXPECT_EQ(static_cast<uint64_t>(stat.st_size), kProgressFileBytes);
  EXPECT_EQ(static_cast<uint64_t>(stat.st_blocks) * 512,
            protocol::kHandOverOffset);
}

TEST_F(ProgressFileTest, WhatTheClientWritesIsSeenAlsoAfterTheSeal) {
  const auto client = Map(client_fd_.get(), Mapping::Access::kReadWrite);
  ASSERT_THAT(client, IsOk());
  const auto reader = Map(file_.reader_fd(), Mapping::Access::kReadOnly);
  ASSERT_THAT(reader, IsOk());
  const uint64_t last =
      protocol::kProgressRecordsOffset +
      (protocol::kProgressRecords - 1) * sizeof(protocol::ProgressRecord);
  client->At<protocol::ProgressRecord>(last)->word.store(7);
  EXPECT_EQ(reader->At<protocol::ProgressRecord>(last)->word.load(), 7u);

  ASSERT_TRUE(Seal(client_fd_.get()));

  client->At<protocol::ProgressRecord>(last)->word.store(8);
  client->data()[kProgressFileBytes - 1] = std::byte{9};
  EXPECT_EQ(reader->At<protocol::ProgressRecord>(last)->word.load(), 8u);
  EXPECT_EQ(reader->data()[kProgressFileBytes - 1], std::byte{9});
}

TEST_F(ProgressFileTest, ItIsSealedWhenTheClientSaysSo) {
  EXPECT_FALSE(file_.sealed());

  ASSERT_TRUE(Seal(client_fd_.get()));

  EXPECT_TRUE(file_.sealed());
}

// Who seals it against all writing cannot write it either.
TEST_F(ProgressFileTest, TheStrongerSealCounts) {
  ASSERT_EQ(::fcntl(client_fd_.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);

  EXPECT_TRUE(file_.sealed());
}

TEST_F(ProgressFileTest, AfterTheSealEvenTheClientGetsNoSecondWritableMapping) {
  ASSERT_THAT(Map(client_fd_.get(), Mapping::Access::kReadWrite), IsOk());

  ASSERT_TRUE(Seal(client_fd_.get()));

  EXPECT_FALSE(Map(client_fd_.get(), Mapping::Access::kReadWrite).ok());
  EXPECT_NE(::pwrite(client_fd_.get(), "x", 1, 0), 1);
  EXPECT_EQ(errno, EPERM);
}

TEST_F(ProgressFileTest, ItsSizeIsFixedFromTheStart) {
  EXPECT_NE(::ftruncate(client_fd_.get(), 0), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::ftruncate(client_fd_.get(), 1 << 30), 0);
  EXPECT_EQ(errno, EPERM);
}

// Goal    whoever gets the readers' descriptor changes nothing by it, be it
//         root or the daemon's own user, who may open it again for writing.
TEST_F(ProgressFileTest, AReaderCannotWritePunchMapOrReopenItWritable) {
  ASSERT_TRUE(Seal(client_fd_.get()));
  const int fd = file_.reader_fd();

  EXPECT_NE(::pwrite(fd, "x", 1, 0), 1);
  EXPECT_NE(
      ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  EXPECT_FALSE(Map(fd, Mapping::Access::kReadWrite).ok());
  const auto mapping = Map(fd, Mapping::Access::kReadOnly);
  ASSERT_THAT(mapping, IsOk());
  EXPECT_NE(::mprotect(mapping->data(), 4096, PROT_READ | PROT_WRITE), 0);
  EXPECT_NE(::madvise(mapping->data(), 4096, MADV_REMOVE), 0);
  const auto again = OpenAgain(fd, O_RDWR);
  if (again.ok()) {
    EXPECT_NE(::pwrite(again->get(), "x", 1, 0), 1);
    EXPECT_NE(::fallocate(again->get(),
                          FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
              0);
    EXPECT_FALSE(Map(again->get(), Mapping::Access::kReadWrite).ok());
  }
  EXPECT_EQ(file_.header()->magic, protocol::kProgressMagic);
}

TEST_F(ProgressFileTest, OnlyWhoMayWriteItSealsIt) {
  EXPECT_FALSE(Seal(file_.reader_fd()));

  EXPECT_FALSE(file_.sealed());
}

}  // namespace
}  // namespace kvferry::memory
