#include "daemon/config/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/support/scratch_directory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::config {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kGiB = uint64_t{1} << 30;

absl::StatusOr<CommandLine> Read(std::vector<std::string> args,
                                 uint64_t memory_bytes = 64 * kGiB) {
  std::vector<const char*> argv = {"kvferryd"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return ReadCommandLine(static_cast<int>(argv.size()), argv.data(),
                         {memory_bytes});
}

TEST(CommandLineTest, WithoutAnyFlagItRunsOnALaptop) {
  const auto line = Read({}, 16 * kGiB);

  ASSERT_THAT(line, IsOk());
  EXPECT_THAT(line->print, IsEmpty());
  EXPECT_EQ(line->config.pool_size_bytes, 4 * kGiB);
  EXPECT_THAT(line->config.socket, HasSubstr("kvferryd.sock"));
  EXPECT_FALSE(line->config.directory.empty());
}

TEST(CommandLineTest, TheDefaultPoolHasBounds) {
  EXPECT_EQ(Read({}, 1024 * kGiB)->config.pool_size_bytes, 8 * kGiB);
  EXPECT_EQ(Read({}, 0)->config.pool_size_bytes, kGiB / 16);
}

TEST(CommandLineTest, FlagsWinOverTheFile) {
  const test::ScratchDirectory scratch;
  const std::string path = scratch / "kv.toml";
  std::ofstream(path) << "[memory]\npool_size = \"2GiB\"\n"
                         "[daemon]\nspin_us = 7\n";

  const auto line = Read({"--config", path, "--pool-size", "3GiB"});

  ASSERT_THAT(line, IsOk());
  EXPECT_EQ(line->config.pool_size_bytes, 3 * kGiB);
  EXPECT_EQ(line->config.spin_us, 7);
}

TEST(CommandLineTest, SpinsForEverInTwoSpellings) {
  EXPECT_EQ(Read({"--spin-us", "-1"})->config.spin_us, kSpinForever);
  EXPECT_EQ(Read({"--spin-us", "max"})->config.spin_us, kSpinForever);
}

TEST(CommandLineTest, ABadFlagIsNamedWithItsValueAndWhatIsAccepted) {
  EXPECT_THAT(Read({"--pool-size", "lots"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--pool-size = \"lots\""),
                             HasSubstr("accepted: a number"))));
  EXPECT_THAT(Read({"--huge-pages", "maybe"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--huge-pages = \"maybe\""),
                             HasSubstr("accepted: auto, on or off"))));
  EXPECT_THAT(
      Read({"--no-such-flag"}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no-such-flag")));
}

TEST(CommandLineTest, AQuotaAboveThePoolIsRefusedWithBoth) {
  EXPECT_THAT(Read({"--pool-size", "1GiB", "--namespace-quota", "2GiB"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("template.quota = 2GiB"),
                             HasSubstr("memory.pool_size = 1GiB"))));
}

TEST(CommandLineTest, HelpConfigShowsEveryKeyOfTheTable) {
  const auto line = Read({"--help-config"});

  ASSERT_THAT(line, IsOk());
  for (const Field& field : ConfigFields()) {
    EXPECT_THAT(line->print, HasSubstr(field.key));
    EXPECT_THAT(line->print, HasSubstr(field.effect));
  }
}

}  // namespace
}  // namespace kvferry::config
