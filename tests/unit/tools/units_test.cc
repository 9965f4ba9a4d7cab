#include "tools/support/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace kvferry::tools {
namespace {

using test::IsOkAndHolds;
using test::StatusIs;
using testing::HasSubstr;

TEST(BytesTextTest, PicksTheUnitAndThreeDigits) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(4096), "4 KiB");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText(uint64_t{1} << 30), "1 GiB");
  EXPECT_EQ(BytesText((uint64_t{1} << 20) - 1), "1 MiB");
  EXPECT_EQ(BytesText(UINT64_MAX), "16 EiB");
}

TEST(DurationTextTest, PicksTheUnit) {
  EXPECT_EQ(DurationText(absl::Nanoseconds(312)), "312 ns");
  EXPECT_EQ(DurationText(absl::Nanoseconds(4170)), "4.17 us");
  EXPECT_EQ(DurationText(absl::Milliseconds(23)), "23 ms");
  EXPECT_EQ(DurationText(absl::Seconds(2.35)), "2.35 s");
  EXPECT_EQ(DurationText(absl::Seconds(187)), "3 min 07 s");
  EXPECT_EQ(DurationText(absl::Hours(2) + absl::Minutes(3)), "2 h 03 min");
  EXPECT_EQ(DurationText(absl::Hours(97)), "4 d 01 h");
}

TEST(CountTextTest, GroupsThousands) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(12031), "12,031");
  EXPECT_EQ(CountText(1234567), "1,234,567");
}

TEST(PercentTextTest, OfNothingIsNoNumber) {
  EXPECT_EQ(PercentText(1, 3), "33.3 %");
  EXPECT_EQ(PercentText(0, 0), "-");
}

TEST(ParseBytesTest, TakesUnitsOfPowersOf1024) {
  EXPECT_THAT(ParseBytes("4096"), IsOkAndHolds(4096u));
  EXPECT_THAT(ParseBytes("4KiB"), IsOkAndHolds(4096u));
  EXPECT_THAT(ParseBytes("4 k"), IsOkAndHolds(4096u));
  EXPECT_THAT(ParseBytes("1.5GiB"), IsOkAndHolds(uint64_t{3} << 29));
  EXPECT_THAT(ParseBytes("7B"), IsOkAndHolds(7u));
  EXPECT_THAT(ParseBytes("9007199254740993"),
              IsOkAndHolds(uint64_t{9007199254740993}));
}

class ParseBytesRefusesTest : public testing::TestWithParam<const char*> {};

TEST_P(ParseBytesRefusesTest, AndNamesTheText) {
  EXPECT_THAT(ParseBytes(GetParam()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(std::string("\"") + GetParam() + "\"")));
}

INSTANTIATE_TEST_SUITE_P(Texts, ParseBytesRefusesTest,
                         testing::Values("", "KiB", "4KB", "-1", "1e3", "inf",
                                         "0x10", "0.5", "4iB", "4BiB",
                                         "8388608TiB", "4 KiB x"));

TEST(ParseDurationTest, TakesSecondsOrAUnit) {
  EXPECT_THAT(ParseDuration("5"), IsOkAndHolds(absl::Seconds(5)));
  EXPECT_THAT(ParseDuration("0.5"), IsOkAndHolds(absl::Milliseconds(500)));
  EXPECT_THAT(ParseDuration("500ms"), IsOkAndHolds(absl::Milliseconds(500)));
  EXPECT_THAT(ParseDuration("2m"), IsOkAndHolds(absl::Minutes(2)));
}

TEST(ParseDurationTest, RefusesWhatIsNoSpanAboveZero) {
  for (const char* text : {"", "0", "-1", "-1s", "inf", "nan", "soon", "5 s"}) {
    EXPECT_THAT(ParseDuration(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::string("\"") + text + "\"")))
        << text;
  }
}

}  // namespace
}  // namespace kvferry::tools
