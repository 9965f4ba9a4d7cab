#include "tools/kvferry-replay/progress_bar.h"

#include <gtest/gtest.h>

namespace kvferry::replay {
namespace {

TEST(ProgressTextTest, ShowsShareCountAndTimeLeft) {
  EXPECT_EQ(ProgressText(3000, 12000, absl::Seconds(40)),
            "[########........................]  25 %  3,000 of 12,000  2:00 "
            "left");
}

TEST(ProgressTextTest, PromisesNothingBeforeTheFirst) {
  EXPECT_EQ(ProgressText(0, 10, absl::Seconds(1)),
            "[................................]   0 %  0 of 10");
}

TEST(ProgressTextTest, IsFullAtTheEnd) {
  EXPECT_EQ(ProgressText(10, 10, absl::Seconds(1)),
            "[################################] 100 %  10 of 10  0:00 left");
}

}  // namespace
}  // namespace kvferry::replay
