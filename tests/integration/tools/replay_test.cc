// kvferry-replay as its users run it: with a daemon of its own and with one
// that is there, and what it says when something is wrong.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "kvferry/admin.h"
#include "kvferry/client.h"
#include "nlohmann/json.hpp"
#include "tests/integration/tools/run_program.h"
#include "tests/support/daemon_process.h"
#include "tests/support/status_matchers.h"
#include "tools/kvferry-replay/options.h"
#include "tools/kvferry-replay/prompt_keys.h"
#include "tools/kvferry-replay/trace_generator.h"

namespace kvferry::replay {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::IsOk;
using test::ProgramResult;
using testing::HasSubstr;
using testing::IsEmpty;

class ReplayTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = (fs::temp_directory_path() / "replay-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    std::ofstream out(trace());
    WriteTrace(GenerateTrace(7, 300, 512), out);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string trace() const { return folder_ / "trace.jsonl"; }

  ProgramResult Replay(std::vector<std::string> words) {
    words.insert(words.begin(), KVFERRY_REPLAY_PATH);
    return test::RunProgram(std::move(words));
  }

  // A replay that lasts until it is told to stop.
  std::unique_ptr<test::RunningProgram> StartSlowReplay() {
    return std::make_unique<test::RunningProgram>(
        std::vector<std::string>{KVFERRY_REPLAY_PATH, trace(), "--pool-size",
                                 "4MiB", "--pace", "0.001"},
        test::ProgramOptions());
  }

  // The socket that a child of `parent` has on its command line, or "".
  static std::string ChildsSocket(pid_t parent) {
    const std::string pid = std::to_string(parent);
    std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
    for (std::string child; children >> child;) {
      std::ifstream words("/proc/" + child + "/cmdline");
      for (std::string word; std::getline(words, word, '\0');) {
        if (word == "--socket" && std::getline(words, word, '\0')) return word;
      }
    }
    return "";
  }

  // Waits until both workers of a replay that runs are attached to the daemon
  // it started, and returns them.
  static std::vector<SessionInfo> AwaitWorkers(pid_t replay,
                                               fs::path* daemon_folder) {
    for (const absl::Time deadline = absl::Now() + absl::Seconds(30);
         absl::Now() < deadline; absl::SleepFor(absl::Milliseconds(5))) {
      const std::string socket = ChildsSocket(replay);
      auto admin = AdminClient::Connect(socket, absl::Seconds(1));
      if (!admin.ok()) continue;
      *daemon_folder = fs::path(socket).parent_path();
      const auto sessions = (*admin)->Sessions();
      if (sessions.ok() && sessions->size() == 2) return *sessions;
    }
    ADD_FAILURE() << "no replay with two workers";
    return {};
  }

  // Whether it is gone, or goes within a second.
  static bool Gone(pid_t pid) {
    for (const absl::Time deadline = absl::Now() + absl::Seconds(1);
         absl::Now() < deadline; absl::SleepFor(absl::Milliseconds(5))) {
      if (::kill(pid, 0) != 0) return true;
    }
    return false;
  }

  fs::path folder_;
};

TEST_F(ReplayTest, ReadsBackWhatItWrote) {
  const ProgramResult result =
      Replay({trace(), "--pool-size", "64MiB", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, IsEmpty());  // no progress bar: not a terminal

  const json report = json::parse(result.out, nullptr, false);
  EXPECT_EQ(report["requests"], 300);
  EXPECT_EQ(report["mismatched_blocks"], 0);
  EXPECT_EQ(report["evicted_blocks"], 0);
  EXPECT_EQ(report["no_space_blocks"], 0);
  EXPECT_EQ(report["void_blocks"], 0);
  EXPECT_GT(report["hit_rate_blocks"], 0.3);
  EXPECT_EQ(report["blocks"], report["hit_blocks"].get<uint64_t>() +
                                  report["written_blocks"].get<uint64_t>() +
                                  report["existing_blocks"].get<uint64_t>() +
                                  report["in_flight_blocks"].get<uint64_t>());
  EXPECT_EQ(report["read_bytes"], report["hit_blocks"].get<uint64_t>() * 4096);
  EXPECT_GT(report["match_p50_ns"], 0);
  EXPECT_LE(report["match_p50_ns"], report["match_p99_ns"]);
}

TEST_F(ReplayTest, ReadsBackWhatItWroteWhileTheDaemonEvicts) {
  const ProgramResult result =
      Replay({trace(), "--pool-size", "2MiB", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;

  const json report = json::parse(result.out, nullptr, false);
  EXPECT_EQ(report["mismatched_blocks"], 0);
  EXPECT_GT(report["evicted_blocks"], 0);
  EXPECT_GT(report["hit_blocks"], 0);
}

TEST_F(ReplayTest, ASecondReplayAtTheSameDaemonHitsEverything) {
  auto daemon = test::DaemonProcess::Start();
  ASSERT_THAT(daemon, IsOk());
  const std::vector<std::string> words = {
      trace(), "--socket", (*daemon)->socket_path(), "--limit", "50", "--json"};
  ASSERT_EQ(Replay(words).exit_code, 0);

  const ProgramResult again = Replay(words);

  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(json::parse(again.out, nullptr, false)["hit_rate_blocks"], 1.0);
}

// Goal    A page with other bytes than its key asks for is found and named.
// Method  The first block of the trace is published with wrong bytes before
//         the replay starts.
TEST_F(ReplayTest, EndsWith1WhenAPageIsWrong) {
  auto daemon = test::DaemonProcess::Start();
  ASSERT_THAT(daemon, IsOk());
  ReplayOptions options;
  AttachOptions attach;
  attach.socket_path = (*daemon)->socket_path();
  attach.spec = ReplaySpec(options);
  auto client = Client::Attach(attach);
  ASSERT_THAT(client, IsOk());
  const TraceRequest first = GenerateTrace(7, 1, options.block_tokens)[0];
  PromptKeys prompt_keys((*client)->info().salt, options.block_tokens,
                         options.seed);
  const std::span<const BlockKey> keys = prompt_keys.Of(first.hash_ids);
  const std::vector<std::byte> wrong(options.page_bytes, std::byte{0x77});
  const std::byte* const source = wrong.data();
  ASSERT_THAT((*client)->Publish(0, BlockKey(), keys.first(1), {&source, 1}),
              test::IsOkAndHolds(1u));

  const ProgramResult result =
      Replay({trace(), "--socket", (*daemon)->socket_path(), "--limit", "1",
              "--json"});

  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("line 1 of the trace, block 0, key " +
                                    ToHex(keys[0]) + ": wrong from byte 0"));
  EXPECT_EQ(json::parse(result.out, nullptr, false)["mismatched_blocks"], 1);
}

TEST_F(ReplayTest, EndsWith2AndNamesALineThatIsNoRequest) {
  std::ofstream(trace(), std::ios::app) << "{\"timestamp\": 1}\n";

  const ProgramResult result = Replay({trace()});

  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err,
              HasSubstr(trace() + ":301: \"input_length\" is missing"));
}

TEST_F(ReplayTest, EndsWith2OnAWrongCommandLine) {
  EXPECT_EQ(Replay({}).exit_code, 2);
  EXPECT_EQ(Replay({trace(), "--page-size", "5000"}).exit_code, 2);
  EXPECT_EQ(Replay({trace(), "--page-size", "512"}).exit_code, 2);
  EXPECT_EQ(Replay({trace(), "--workers", "0"}).exit_code, 2);
  EXPECT_EQ(Replay({trace(), "--pace", "-1"}).exit_code, 2);
  EXPECT_EQ(Replay({trace(), "--generate", "1"}).exit_code, 2);
  EXPECT_EQ(Replay({folder_ / "missing"}).exit_code, 2);
}

TEST_F(ReplayTest, EndsWith3WithoutADaemon) {
  const ProgramResult nobody =
      Replay({trace(), "--socket", "/nonexistent/socket"});
  EXPECT_EQ(nobody.exit_code, 3);
  EXPECT_THAT(nobody.err, HasSubstr("/nonexistent/socket"));

  const ProgramResult no_program =
      Replay({trace(), "--daemon", "/nonexistent/kvferryd"});
  EXPECT_EQ(no_program.exit_code, 1);
  EXPECT_THAT(no_program.err, HasSubstr("/nonexistent/kvferryd"));
}

TEST_F(ReplayTest, KeepsTheTracesPace) {
  std::ofstream(trace()) << R"({"timestamp":1000,"input_length":1,)"
                            R"("output_length":1,"hash_ids":[1]})"
                            "\n"
                            R"({"timestamp":3000,"input_length":1,)"
                            R"("output_length":1,"hash_ids":[1]})"
                            "\n";

  const ProgramResult result =
      Replay({trace(), "--pool-size", "4MiB", "--pace", "4", "--json"});

  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GE(json::parse(result.out, nullptr, false)["wall_ms"], 500);
}

TEST_F(ReplayTest, EndsWhatItStartedWhenInterrupted) {
  const std::unique_ptr<test::RunningProgram> program = StartSlowReplay();
  fs::path daemon_folder;
  const std::vector<SessionInfo> workers =
      AwaitWorkers(program->pid(), &daemon_folder);
  ASSERT_EQ(workers.size(), 2u);

  ASSERT_EQ(::kill(program->pid(), SIGINT), 0);
  const ProgramResult result = program->Wait();

  EXPECT_EQ(result.exit_code, 128 + SIGINT);
  EXPECT_THAT(result.err, HasSubstr("stopped by signal 2"));
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_TRUE(Gone(static_cast<pid_t>(workers[0].pid)));
  EXPECT_TRUE(Gone(static_cast<pid_t>(workers[1].pid)));
  EXPECT_FALSE(fs::exists(daemon_folder));
}

TEST_F(ReplayTest, EndsWith1WhenAWorkerDies) {
  const std::unique_ptr<test::RunningProgram> program = StartSlowReplay();
  fs::path daemon_folder;
  const std::vector<SessionInfo> workers =
      AwaitWorkers(program->pid(), &daemon_folder);
  ASSERT_EQ(workers.size(), 2u);

  ASSERT_EQ(::kill(static_cast<pid_t>(workers[1].pid), SIGKILL), 0);
  const ProgramResult result = program->Wait();

  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("was killed by signal 9"));
  EXPECT_TRUE(Gone(static_cast<pid_t>(workers[0].pid)));
  EXPECT_FALSE(fs::exists(daemon_folder));
}

}  // namespace
}  // namespace kvferry::replay
