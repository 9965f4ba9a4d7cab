#include "daemon/config/size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace kvferry::config {
namespace {

using test::IsOkAndHolds;
using test::StatusIs;
using ::testing::HasSubstr;

constexpr uint64_t kMemory = 1000 * 1000;

TEST(ParseSizeTest, ReadsUnitsSharesAndBytes) {
  EXPECT_THAT(ParseSize("64MiB", kMemory), IsOkAndHolds(64u << 20));
  EXPECT_THAT(ParseSize(" 1.5 GiB ", kMemory), IsOkAndHolds(1536u << 20));
  EXPECT_THAT(ParseSize("2TiB", kMemory), IsOkAndHolds(uint64_t{2} << 40));
  EXPECT_THAT(ParseSize("3KiB", kMemory), IsOkAndHolds(3072u));
  EXPECT_THAT(ParseSize("17B", kMemory), IsOkAndHolds(17u));
  EXPECT_THAT(ParseSize("4096", kMemory), IsOkAndHolds(4096u));
  EXPECT_THAT(ParseSize("25%", kMemory), IsOkAndHolds(kMemory / 4));
}

TEST(ParseSizeTest, RejectsWhatIsNoSize) {
  for (const char* text : {"", "MiB", "x", "-1MiB", "1e3", "inf", "nan%",
                           "64MB", "1.2.3GiB", "0x10", "1 2"}) {
    EXPECT_THAT(
        ParseSize(text, kMemory),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a size")))
        << text;
  }
}

TEST(ParseSizeTest, RejectsWhatDoesNotFit) {
  EXPECT_THAT(
      ParseSize("9223372036854775808", kMemory),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too large")));
}

TEST(FormatSizeTest, IsShortAndExact) {
  EXPECT_EQ(FormatSize(uint64_t{8} << 30), "8GiB");
  EXPECT_EQ(FormatSize(uint64_t{1536} << 20), "1536MiB");
  EXPECT_EQ(FormatSize(4097), "4097B");
  EXPECT_EQ(FormatSize(0), "0B");
}

TEST(MemoryOfThisMachineTest, IsWhatTheKernelManagesOrLess) {
  EXPECT_GT(MemoryOfThisMachine(), uint64_t{64} << 20);
}

}  // namespace
}  // namespace kvferry::config
