#include <algorithm>
#include <string>
#include <vector>

#include "tests/integration/gpu_daemon_fixture.h"
#include "tests/support/program_path.h"

// Workers that break their protocol: each is killed, with a reason that says
// how, and the daemon and its host memory do not notice.
namespace kvferry::test {
namespace {

struct Wildness {
  const char* mode;  // of wild_worker_main.cc
  const char* reason;
};

// As GoogleTest wants the names of cases.
std::string NameOfMode(const testing::TestParamInfo<Wildness>& wildness) {
  std::string name = wildness.param.mode;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class GpuWildWorkerTest : public GpuDaemonTest,
                          public testing::WithParamInterface<Wildness> {
 protected:
  void SetUp() override { KVFERRY_EMULATED_ONLY(); }
  void StartWith(const std::string& mode) {
    StartDaemon({"--gpu-worker",
                 WriteWorker("exec " + ProgramPath(KVFERRY_WILD_WORKER_PATH) +
                             " " + mode + " \"$@\"")});
  }
};

// Goal    Whatever a worker sends, the daemon finds it out and goes on.
// Method  One mode of the wild worker each; it is started again and again.
TEST_P(GpuWildWorkerTest, IsKilledAndTheReasonIsKnown) {
  StartWith(GetParam().mode);
  const auto session = AttachWithGpu();

  ASSERT_TRUE(daemon_->WaitForLog(GetParam().reason)) << daemon_->log();

  EXPECT_TRUE(Becomes([&] {
    return Gpu().reason.find(GetParam().reason) != std::string::npos;
  })) << Gpu().reason;
  EXPECT_TRUE(Becomes([&] { return Gpu().restarts >= 2; }));
  ExpectHostServes(*session);
}

INSTANTIATE_TEST_SUITE_P(
    Modes, GpuWildWorkerTest,
    testing::Values(
        Wildness{"garbage", "no valid KVFW buffer"},
        Wildness{"empty", "no valid KVFW buffer"},
        Wildness{"end", "exit code 0"},
        Wildness{"version", "it speaks version 2, the daemon 1"},
        Wildness{"other-device", "it opened another device"},
        Wildness{"no-device", "it opened another device"},
        Wildness{"hello-twice", "it said Hello twice"},
        Wildness{"daemon-message", "it sent Quit, which only daemons send"},
        Wildness{"unasked-pool", "it made pool 0, which is not asked for"},
        Wildness{"unasked-segment", "it added segment 0, which is not asked"},
        Wildness{"tail-ahead", "its completion ring has tail 1099511627776"},
        Wildness{"tail-behind", "its completion ring has tail 184467440737095"},
        Wildness{"pool-id", "which is not asked for"},
        Wildness{"segment-id", "which is not asked for"},
        Wildness{"small-pool", "4194303 bytes, 4194304 were asked for"},
        Wildness{"no-export", "no way to import it"},
        Wildness{"no-descriptor", "0 descriptors beside it"},
        Wildness{"empty-handle", "a handle of 0 bytes"},
        Wildness{"long-handle", "a handle of 60000 bytes"}),
    NameOfMode);

// Those that need a copy to be wild about.
class GpuWildCopyTest : public GpuWildWorkerTest {};

// Goal    A completion of nothing, or of no known outcome, ends the worker.
// Method  A block is published into the pool; its write-behind is answered
//         wrongly.
TEST_P(GpuWildCopyTest, IsKilledAndTheReasonIsKnown) {
  StartWith(GetParam().mode);
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const std::vector<BlockKey> keys = FreshKeys(1);
  ASSERT_THAT(session->Begin(1, 1, keys), IsOk());
  session->Commit(1, 1);

  ASSERT_TRUE(daemon_->WaitForLog(GetParam().reason)) << daemon_->log();

  EXPECT_TRUE(session->WaitUntilGone(keys[0]));
  EXPECT_TRUE(session->WaitForPool(1, 3));
  ExpectHostServes(*session);
}

INSTANTIATE_TEST_SUITE_P(Modes, GpuWildCopyTest,
                         testing::Values(Wildness{"copy-id", "completed copy"},
                                         Wildness{"copy-ok", "with 7"}),
                         NameOfMode);

class GpuFailingCopyTest : public GpuWildWorkerTest {};

// Goal    A copy that fails is tried once more, then its key is a miss; the
//         worker may stay.
// Method  A worker that says of each copy that it failed.
TEST_P(GpuFailingCopyTest, LosesItsKeyOnly) {
  StartWith(GetParam().mode);
  const auto session = AttachWithGpu();
  ASSERT_TRUE(session->WaitForPool(1));
  const std::vector<BlockKey> keys = FreshKeys(1);
  ASSERT_THAT(session->Begin(1, 1, keys), IsOk());
  session->Commit(1, 1);

  EXPECT_TRUE(Becomes([&] { return Gpu().copy_errors == 2; }))
      << Gpu().copy_errors;
  EXPECT_TRUE(session->WaitUntilGone(keys[0]));
  EXPECT_EQ(Gpu().restarts, 0u);
  EXPECT_EQ(session->Incarnation(1), 1u);
  EXPECT_TRUE(daemon_->WaitForLog("a copy to the host failed"));
  ExpectHostServes(*session);
}

INSTANTIATE_TEST_SUITE_P(Modes, GpuFailingCopyTest,
                         testing::Values(Wildness{"copy-fails", ""}),
                         NameOfMode);

}  // namespace
}  // namespace kvferry::test
