#include "daemon/config/principals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace kvferry::config {
namespace {

using test::IsOkAndHolds;
using test::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

TEST(ParsePrincipalsTest, ReadsNamesIdsAndGroups) {
  EXPECT_THAT(
      ParsePrincipals("root, 1001,@root,@77"),
      IsOkAndHolds(AllOf(Field(&AccessList::users, ElementsAre(0u, 1001u)),
                         Field(&AccessList::groups, ElementsAre(0u, 77u)),
                         Field(&AccessList::everybody, false))));
}

TEST(ParsePrincipalsTest, NobodyAndEverybody) {
  EXPECT_TRUE(ParsePrincipals("")->owner_only());
  EXPECT_TRUE(ParsePrincipals("*")->everybody);
}

TEST(ParsePrincipalsTest, NamesWhoIsUnknown) {
  EXPECT_THAT(ParsePrincipals("root,no-such-user"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no user `no-such-user`")));
  EXPECT_THAT(ParsePrincipals("@no-such-group"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no group `no-such-group`")));
  EXPECT_THAT(ParsePrincipals("-1"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry::config
