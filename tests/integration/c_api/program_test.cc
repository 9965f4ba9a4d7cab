// The C programs of this folder against a real daemon.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/integration/tools/run_program.h"
#include "tests/support/small_daemon.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_device.h"

namespace kvferry::test {
namespace {

struct Run {
  const char* program;
  const char* scenario;
  // Whether the daemon serves the emulated device: the programs' device memory
  // is their own.
  bool gpu = false;
};

class CProgramTest : public testing::TestWithParam<Run> {};

// Goal    The scenario finds everything as the headers say.
// Method  A fresh daemon for each; the program says where it did not.
TEST_P(CProgramTest, FindsEverythingAsTheHeadersSay) {
  std::vector<std::string> flags;
  if (GetParam().gpu) {
    KVFERRY_EMULATED_ONLY();
    flags = GpuDaemonFlags();
  }
  auto daemon = DaemonProcess::Start(SmallDaemon(flags));
  ASSERT_THAT(daemon, IsOk());

  const ProgramResult result = RunProgram(
      {GetParam().program, (*daemon)->socket_path(), GetParam().scenario});

  EXPECT_EQ(result.exit_code, 0) << result.err << result.out;
  EXPECT_EQ(result.err, "");
  EXPECT_EQ((*daemon)->Stop(), 0);
}

constexpr Run kRuns[] = {
    {CURRENT_PROGRAM, "publish_and_match"},
    {CURRENT_PROGRAM, "publication"},
    {CURRENT_PROGRAM, "stream"},
    {CURRENT_PROGRAM, "ticket"},
    {CURRENT_PROGRAM, "paged"},
    {CURRENT_PROGRAM, "gpu", true},
    {CURRENT_PROGRAM, "admin"},
    {CURRENT_PROGRAM, "admin_gpu", true},
    {CURRENT_PROGRAM, "errors"},
    {CURRENT_PROGRAM, "lifetimes"},
    {OLDER_PROGRAM, "older"},
    {NEWER_PROGRAM, "newer"},
};

INSTANTIATE_TEST_SUITE_P(Programs, CProgramTest, testing::ValuesIn(kRuns),
                         [](const testing::TestParamInfo<Run>& run) {
                           return run.param.scenario;
                         });

}  // namespace
}  // namespace kvferry::test
