#include "sdk/segment_table.h"

#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using test::IsOk;
using test::StatusIs;

constexpr uint64_t kStride = 4096;

std::vector<protocol::GroupRecord> TwoGroups() {
  std::vector<protocol::GroupRecord> groups(2);
  groups[0].stride_bytes = kStride;
  groups[0].block_count = 10;
  groups[0].blocks_per_segment = 4;
  groups[1].stride_bytes = kStride;
  groups[1].first_block = 10;
  groups[1].block_count = 3;
  groups[1].blocks_per_segment = 4;
  return groups;
}

UniqueFd FileOf(uint64_t bytes) {
  UniqueFd fd(::memfd_create("segment", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}

protocol::wire::SegmentAddedT Added(uint32_t group, uint32_t first_block,
                                    uint32_t block_count) {
  protocol::wire::SegmentAddedT added;
  added.group = static_cast<uint8_t>(group);
  added.first_block = first_block;
  added.block_count = block_count;
  added.bytes = block_count * kStride;
  added.writable = true;
  return added;
}

TEST(SegmentTableTest, FindsBlocksInTheirSegments) {
  SegmentTable table(TwoGroups());
  EXPECT_FALSE(table.HasAny(0));
  EXPECT_EQ(table.Address(0, 5), nullptr);

  ASSERT_THAT(table.Add(Added(0, 4, 4), FileOf(4 * kStride)), IsOk());

  EXPECT_TRUE(table.HasAny(0));
  EXPECT_FALSE(table.IsMapped(0, 3));
  ASSERT_TRUE(table.IsMapped(0, 5));
  EXPECT_EQ(table.Address(0, 5), table.Address(0, 4) + kStride);
  EXPECT_FALSE(table.IsMapped(0, 8));
  table.Address(0, 7)[kStride - 1] = std::byte{1};

  EXPECT_FALSE(table.complete());
  ASSERT_THAT(table.Add(Added(0, 0, 4), FileOf(4 * kStride)), IsOk());
  ASSERT_THAT(table.Add(Added(0, 8, 2), FileOf(2 * kStride)), IsOk());
  ASSERT_THAT(table.Add(Added(1, 10, 3), FileOf(3 * kStride)), IsOk());
  EXPECT_TRUE(table.complete());
  EXPECT_TRUE(table.writable());
}

TEST(SegmentTableTest, ASecondAnnouncementChangesNothing) {
  SegmentTable table(TwoGroups());
  ASSERT_THAT(table.Add(Added(0, 0, 4), FileOf(4 * kStride)), IsOk());
  const std::byte* before = table.Address(0, 1);
  ASSERT_THAT(table.Add(Added(0, 0, 4), FileOf(4 * kStride)), IsOk());
  EXPECT_EQ(table.Address(0, 1), before);
}

TEST(SegmentTableTest, RefusesWhatDoesNotFitTheGeometry) {
  SegmentTable table(TwoGroups());
  const auto refused = [&table](uint32_t group, uint32_t first,
                                uint32_t count) {
    EXPECT_THAT(table.Add(Added(group, first, count), FileOf(16 * kStride)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << group << " " << first << " " << count;
  };
  refused(2, 0, 4);   // no such group
  refused(0, 1, 4);   // not where a segment begins
  refused(0, 0, 5);   // larger than a segment
  refused(0, 8, 3);   // beyond the group's blocks
  refused(0, 12, 1);  // another group's blocks
  refused(1, 0, 4);   // before the group's blocks

  protocol::wire::SegmentAddedT small = Added(0, 0, 4);
  small.bytes -= 1;
  EXPECT_THAT(table.Add(small, FileOf(4 * kStride)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  // A file that is shorter than what is announced would be SIGBUS later.
  EXPECT_THAT(table.Add(Added(0, 0, 4), FileOf(kStride)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_FALSE(table.HasAny(0));
}

}  // namespace
}  // namespace kvferry::sdk
