#include "daemon/core/progress_view.h"

#include <cstring>

#include "gmock/gmock.h"
#include "tests/sim/memory.h"

namespace kvferry::core {
namespace {

using protocol::kHandOverBytesMax;
using protocol::kProgressRecords;
using protocol::PackProgress;
using protocol::ProgressRecord;

class ProgressViewTest : public testing::Test {
 protected:
  ProgressRecord& record(uint32_t i) {
    return file_.At<ProgressRecord>(protocol::kProgressRecordsOffset)[i];
  }
  void PutHandOver(uint32_t i, const std::string& bytes) {
    bytes.copy(file_.At<char>(protocol::kHandOverOffset +
                              uint64_t{i} * kHandOverBytesMax),
               bytes.size());
    record(i).hand_over_bytes = static_cast<uint32_t>(bytes.size());
  }

  sim::FakeFile file_{protocol::kProgressFileBytes};
  ProgressView view_{file_.At<protocol::ProgressHeader>(0)};
};

TEST_F(ProgressViewTest, WithoutAFileThereIsNothing) {
  const ProgressView none;
  EXPECT_EQ(none.Word(0), 0u);
  EXPECT_EQ(none.Positions(3, 0), 0u);
  EXPECT_EQ(none.HandOver(3, 1), "");
}

TEST_F(ProgressViewTest, PositionsCountUnderTheirGenerationOnly) {
  record(3).word = PackProgress({.generation = 7, .positions = 5});

  EXPECT_EQ(view_.Positions(3, 7), 5u);
  EXPECT_EQ(view_.Positions(3, 6), 0u);
  EXPECT_EQ(view_.Positions(3, 8), 0u);
  EXPECT_EQ(view_.Positions(2, 7), 0u);
}

TEST_F(ProgressViewTest, TheLastRecordHasItsHandOverDataInTheFile) {
  const uint32_t last = kProgressRecords - 1;
  record(last).word = PackProgress({.generation = 9});
  const std::string bytes(kHandOverBytesMax, 'x');
  PutHandOver(last, bytes);

  EXPECT_EQ(view_.HandOver(last, 9), bytes);
  EXPECT_EQ(view_.HandOver(last - 1, 9), "");
}

TEST_F(ProgressViewTest, HandOverDataOfAnotherGenerationAreNone) {
  record(0).word = PackProgress({.generation = 9});
  PutHandOver(0, "token");

  EXPECT_EQ(view_.HandOver(0, 9), "token");
  EXPECT_EQ(view_.HandOver(0, 8), "");
}

TEST_F(ProgressViewTest, ASizeBeyondTheLimitIsNoSize) {
  record(0).word = PackProgress({.generation = 9});
  for (uint32_t bytes : {kHandOverBytesMax + 1, ~uint32_t{0}}) {
    record(0).hand_over_bytes = bytes;
    EXPECT_EQ(view_.HandOver(0, 9), "") << bytes;
  }
}

}  // namespace
}  // namespace kvferry::core
