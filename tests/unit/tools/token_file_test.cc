#include "tools/kvferryctl/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace kvferry::ctl {
namespace {

using test::IsOkAndHolds;
using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(ParseTokensTest, ReadsNumbersBetweenAnyWhitespace) {
  EXPECT_THAT(
      ParseTokens("f", " 1\t2\n\n4294967295 \r\n0", TokenFormat::kNumbers),
      IsOkAndHolds(ElementsAre(1, 2, 4294967295, 0)));
  EXPECT_THAT(ParseTokens("f", " \n", TokenFormat::kNumbers),
              IsOkAndHolds(IsEmpty()));
}

TEST(ParseTokensTest, NamesThePlaceOfABadWord) {
  EXPECT_THAT(ParseTokens("ids.txt", "1 2\n3 x4 5", TokenFormat::kNumbers),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("ids.txt:2:3: \"x4\"")));
  EXPECT_THAT(ParseTokens("f", "4294967296", TokenFormat::kNumbers),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("f:1:1: \"4294967296\"")));
  EXPECT_THAT(ParseTokens("f", "-1", TokenFormat::kNumbers),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ParseTokensTest, TakesEveryByteAsAToken) {
  EXPECT_THAT(
      ParseTokens("f", absl::string_view("a\n\xff\0", 4), TokenFormat::kBytes),
      IsOkAndHolds(ElementsAre(97, 10, 255, 0)));
}

TEST(ReadTokenFileTest, NamesAFileThatIsNotThere) {
  EXPECT_THAT(
      ReadTokenFile("/nonexistent/ids", TokenFormat::kNumbers),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/ids")));
}

}  // namespace
}  // namespace kvferry::ctl
