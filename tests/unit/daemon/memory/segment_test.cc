#include "daemon/memory/segment.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "daemon/memory/probes.h"
#include "tests/support/status_matchers.h"

namespace kvferry::memory {
namespace {

using config::Toggle;
using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBytes = (uint64_t{5} << 20) + 4096;

protocol::SegmentPlan Plan() {
  protocol::SegmentPlan plan;
  plan.segment = 2;
  plan.bytes = kBytes;
  return plan;
}

constexpr SegmentOptions kPlain{Toggle::kOff, Toggle::kOff, config::kNumaAuto};

TEST(SegmentTest, IsSealedPopulatedAndPrivateToItsOwner) {
  const auto segment = Segment::Make(Plan(), kPlain);

  ASSERT_THAT(segment, IsOk());
  const int fd = (*segment)->writer_fd();
  EXPECT_EQ(::fcntl(fd, F_GET_SEALS),
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  struct stat found {};
  ASSERT_EQ(::fstat(fd, &found), 0);
  EXPECT_EQ(static_cast<uint64_t>(found.st_size), kBytes);
  EXPECT_EQ(static_cast<uint64_t>(found.st_blocks) * 512, kBytes);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
  EXPECT_EQ((*segment)->bytes(), kBytes);
  EXPECT_FALSE((*segment)->huge());
  EXPECT_FALSE((*segment)->locked());
  EXPECT_THAT((*segment)->note(), IsEmpty());
}

TEST(SegmentTest, PublishersWriteAndReadersSeeIt) {
  const auto segment = Segment::Make(Plan(), kPlain);
  ASSERT_THAT(segment, IsOk());
  const auto writer = Mapping::Map((*segment)->writer_fd(), kBytes,
                                   Mapping::Access::kReadWrite);
  const auto reader =
      Mapping::Map((*segment)->reader_fd(), kBytes, Mapping::Access::kReadOnly);
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT(reader, IsOk());

  writer->data()[kBytes - 1] = std::byte{9};

  EXPECT_EQ(reader->data()[kBytes - 1], std::byte{9});
}

TEST(SegmentTest, AReadersDescriptorIsNotWritable) {
  const auto segment = Segment::Make(Plan(), kPlain);
  ASSERT_THAT(segment, IsOk());

  EXPECT_FALSE(
      Mapping::Map((*segment)->reader_fd(), kBytes, Mapping::Access::kReadWrite)
          .ok());
  char byte = 1;
  EXPECT_LT(::write((*segment)->reader_fd(), &byte, 1), 0);
}

TEST(SegmentTest, IsLockedWhereThatIsPermitted) {
  SegmentOptions options = kPlain;
  options.lock = Toggle::kAuto;

  const auto segment = Segment::Make(Plan(), options);

  ASSERT_THAT(segment, IsOk());
  EXPECT_EQ((*segment)->locked(), (*segment)->note().empty());
  if (ProbeLock(kBytes).ok()) {
    EXPECT_TRUE((*segment)->locked());
  }
}

TEST(SegmentTest, HugePagesAreTakenOrTheReasonIsTold) {
  SegmentOptions options = kPlain;
  options.huge_pages = Toggle::kAuto;

  const auto segment = Segment::Make(Plan(), options);

  ASSERT_THAT(segment, IsOk());
  if ((*segment)->huge()) {
    EXPECT_EQ((*segment)->bytes(), uint64_t{6} << 20);
  } else {
    EXPECT_EQ((*segment)->bytes(), kBytes);
    EXPECT_THAT((*segment)->note(), HasSubstr("no 2 MiB pages"));
  }
}

TEST(SegmentTest, WithHugePagesOnThereIsNoFallback) {
  if (ProbeHugePages().ok()) GTEST_SKIP() << "this machine has huge pages";
  SegmentOptions options = kPlain;
  options.huge_pages = Toggle::kOn;

  EXPECT_FALSE(Segment::Make(Plan(), options).ok());
}

TEST(SegmentTest, IsBoundToItsNode) {
  if (!ProbeNumaNode(0).ok()) GTEST_SKIP() << "no NUMA in this kernel";
  SegmentOptions options = kPlain;
  options.numa_node = 0;

  const auto segment = Segment::Make(Plan(), options);

  ASSERT_THAT(segment, IsOk());
  EXPECT_THAT((*segment)->note(), IsEmpty());
}

TEST(SegmentTest, StopsInTheMiddle) {
  const std::atomic<bool> stop{true};

  EXPECT_THAT(Segment::Make(Plan(), kPlain, &stop),
              StatusIs(absl::StatusCode::kCancelled));
}

TEST(ProbeTest, ANodeThatIsNotThereIsNamed) {
  EXPECT_THAT(ProbeNumaNode(1023), StatusIs(absl::StatusCode::kNotFound,
                                            HasSubstr("NUMA node 1023")));
}

}  // namespace
}  // namespace kvferry::memory
