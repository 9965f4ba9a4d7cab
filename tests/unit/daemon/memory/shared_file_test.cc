#include "daemon/memory/shared_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "daemon/memory/namespace_files.h"
#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::memory {
namespace {

using test::IsOk;
using test::StatusIs;

class SharedFileTest : public testing::Test {
 protected:
  const test::ScratchDirectory scratch_;
  const ReadOnlyView view_ = *ReadOnlyView::Make(scratch_.path());
};

TEST_F(SharedFileTest, ClientsSeeWhatTheDaemonWrites) {
  const auto file = SharedFile::Make(view_, "index.1", 8192);
  ASSERT_THAT(file, IsOk());
  const auto reader =
      Mapping::Map(file->reader_fd(), 8192, Mapping::Access::kReadOnly);
  ASSERT_THAT(reader, IsOk());
  EXPECT_TRUE(std::all_of(reader->data(), reader->data() + 8192,
                          [](std::byte b) { return b == std::byte{0}; }));

  file->mapping().data()[4096] = std::byte{42};

  EXPECT_EQ(reader->data()[4096], std::byte{42});
}

TEST_F(SharedFileTest, HasItsPagesFromTheStart) {
  const auto file = SharedFile::Make(view_, "index.1", 1 << 20);

  ASSERT_THAT(file, IsOk());
  struct stat found {};
  ASSERT_EQ(::fstat(file->reader_fd(), &found), 0);
  EXPECT_EQ(found.st_blocks * 512, 1 << 20);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
}

TEST_F(SharedFileTest, ItsNameGoesWithItAndReadersKeepIt) {
  auto file = SharedFile::Make(view_, "index.1", 4096);
  ASSERT_THAT(file, IsOk());
  file->mapping().data()[0] = std::byte{1};
  const auto reader =
      Mapping::Map(file->reader_fd(), 4096, Mapping::Access::kReadOnly);
  ASSERT_THAT(reader, IsOk());

  { const SharedFile gone = *std::move(file); }

  EXPECT_FALSE(std::filesystem::exists(scratch_ / "index.1"));
  EXPECT_EQ(reader->data()[0], std::byte{1});
}

TEST_F(SharedFileTest, WhatIsThereIsNotOverwritten) {
  const auto first = SharedFile::Make(view_, "index.1", 4096);
  ASSERT_THAT(first, IsOk());

  EXPECT_THAT(SharedFile::Make(view_, "index.1", 4096),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "index.1"));
}

TEST_F(SharedFileTest, TooLargeIsAnErrorThatLeavesNothingBehind) {
  EXPECT_FALSE(SharedFile::Make(view_, "huge", uint64_t{1} << 50).ok());
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "huge"));
}

TEST_F(SharedFileTest, ANamespaceHasTwo) {
  protocol::Geometry geometry;
  geometry.block_capacity = 1000;
  geometry.bucket_count = protocol::BucketCountFor(1000);

  const auto files = NamespaceFiles::Make(view_, 3, geometry);

  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->index.mapping().size(),
            protocol::IndexFileBytes(geometry.bucket_count));
  EXPECT_EQ(files->state.mapping().size(), protocol::StateFileBytes(1000));
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "state.3"));
}

}  // namespace
}  // namespace kvferry::memory
