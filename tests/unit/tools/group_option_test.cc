#include "tools/kvferryctl/group_option.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace kvferry::ctl {
namespace {

using test::StatusIs;
using testing::HasSubstr;

TEST(ParseGroupTest, ReadsEveryField) {
  const auto group = ParseGroup(
      "name=window,tokens=32,layers=4,kv=1,heads=8,head-bytes=256,slices=2,"
      "rule=trailing:3");

  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(group->name, "window");
  EXPECT_EQ(group->block_tokens, 32u);
  EXPECT_EQ(group->layer_count, 4u);
  EXPECT_EQ(group->kv_count, 1u);
  EXPECT_EQ(group->head_count, 8u);
  EXPECT_EQ(group->head_bytes, 256u);
  EXPECT_EQ(group->slice_count, 2u);
  EXPECT_EQ(group->rule, HitRule::kTrailing);
  EXPECT_EQ(group->trailing_blocks, 3u);
  EXPECT_EQ(RuleText(*group), "trailing 3");
}

TEST(ParseGroupTest, LeavesDefaultsForWhatIsNotNamed) {
  const auto group = ParseGroup("head-bytes=64");

  ASSERT_TRUE(group.ok()) << group.status();
  GroupSpec want;
  want.head_bytes = 64;
  EXPECT_EQ(*group, want);
}

struct BadGroup {
  const char* text;
  const char* reason;
};

class ParseGroupRefusesTest : public testing::TestWithParam<BadGroup> {};

TEST_P(ParseGroupRefusesTest, AndNamesTheField) {
  EXPECT_THAT(ParseGroup(GetParam().text),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(GetParam().reason)));
}

INSTANTIATE_TEST_SUITE_P(
    Groups, ParseGroupRefusesTest,
    testing::Values(
        BadGroup{"tokens=16", "head-bytes is missing"},
        BadGroup{"head-bytes=0", "head-bytes is \"0\""},
        BadGroup{"head-bytes=-4", "head-bytes is \"-4\""},
        BadGroup{"head-bytes=64,tokens=many", "tokens is \"many\""},
        BadGroup{"head-bytes=64,colour=red", "unknown field \"colour\""},
        BadGroup{"head-bytes=64,head-bytes=64", "head-bytes is given twice"},
        BadGroup{"head-bytes=64,rule=some", "rule is \"some\""},
        BadGroup{"head-bytes=64,rule=trailing:0", "rule=trailing is \"0\""},
        BadGroup{"", "unknown field \"\""}));

}  // namespace
}  // namespace kvferry::ctl
