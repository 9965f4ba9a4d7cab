// The verbs of kvferryctl that look at the daemon, its errors and exit codes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/tools/kvferryctl_fixture.h"

namespace kvferry {
namespace {

using nlohmann::json;
using test::IsOk;
using test::ProgramResult;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(KvferryctlTest, StatusNamesTheDaemon) {
  const json status = CtlJson({"status"});
  EXPECT_EQ(status["pid"], daemon_->pid());
  EXPECT_EQ(status["socket"], daemon_->socket_path());
  EXPECT_EQ(status["directory"], daemon_->directory());
  EXPECT_EQ(status["pool_bytes"], 64 << 20);
  EXPECT_EQ(status["namespace_count"], 0);
  EXPECT_TRUE(status["memory_locked"].is_boolean());
  EXPECT_TRUE(status["uptime_ms"].is_number_unsigned());

  const ProgramResult text = Ctl({"status"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("pid " + std::to_string(daemon_->pid())));
  EXPECT_THAT(text.out, HasSubstr("0 B of 64 MiB in namespaces"));
  EXPECT_THAT(text.err, IsEmpty());
}

TEST_F(KvferryctlTest, WithoutADaemonItSaysWhereItLookedAndEndsWith3) {
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{
           {"status"},
           {"namespaces"},
           {"sessions"},
           {"blocks", "--namespace", kName},
           {"match", "--namespace", kName, "--tokens", "-"},
           {"evict", "--namespace", kName, "--limit", "1"},
           {"clear", "--namespace", kName}}) {
    std::vector<std::string> words = {Program(), "--socket",
                                      "/nonexistent/socket"};
    words.insert(words.end(), verb.begin(), verb.end());
    const ProgramResult result = test::RunProgram(words);
    EXPECT_EQ(result.exit_code, 3) << verb[0];
    EXPECT_THAT(result.err,
                HasSubstr("no daemon answers at /nonexistent/socket"));
    EXPECT_THAT(result.out, IsEmpty());
  }
}

TEST_F(KvferryctlTest, AWrongCommandLineEndsWith2) {
  struct Case {
    std::vector<std::string> words;
    const char* reason;
  };
  for (const Case& c : std::vector<Case>{
           {{}, "a verb is missing"},
           {{"dance"}, "dance"},
           {{"status", "--timeout", "soon"}, "\"soon\" is not a time span"},
           {{"blocks", "--prefix", "xyz"}, "\"xyz\" is not the start of a key"},
           {{"blocks", "--prefix", std::string(33, 'a')}, "33 digits"},
           {{"blocks", "--limit", "0"}, "--limit"},
           {{"evict", "--namespace", kName}, "--limit N for the N coldest"},
           {{"match", "--namespace", kName}, "--tokens"},
           {{"match", "--namespace", kName, "--tokens", "/nonexistent/ids"},
            "/nonexistent/ids"},
           {{"namespaces", "create", "--name", "n", "--model", "m", "--dtype",
             "u8", "--quota", "4KB", "--group", "head-bytes=256"},
            "\"4KB\" is not a size"},
           {{"namespaces", "create", "--name", "n", "--model", "m", "--dtype",
             "u8", "--quota", "4MiB", "--group", "tokens=16"},
            "head-bytes is missing"}}) {
    const ProgramResult result = Ctl(c.words);
    EXPECT_EQ(result.exit_code, 2) << c.reason;
    EXPECT_THAT(result.err, HasSubstr(c.reason));
    EXPECT_THAT(result.out, IsEmpty());
  }
  EXPECT_EQ(Ctl({"match", "--namespace", kName, "--tokens", "-"},
                {.input = "1 2 three"})
                .exit_code,
            2);
}

TEST_F(KvferryctlTest, HelpIsNoError) {
  const ProgramResult result = Ctl({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("Exit codes: 0 done"));
}

TEST_F(KvferryctlTest, CreatesAndListsNamespaces) {
  EXPECT_EQ(Ctl({"namespaces"}).out, "There is no namespace.\n");
  EXPECT_EQ(CtlJson({"namespaces"}), json::array());

  const std::vector<std::string> create = {
      "namespaces", "create",
      "--name",     "twin",
      "--model",    "m",
      "--dtype",    "bf16",
      "--revision", "r1",
      "--quota",    "16MiB",
      "--group",    "name=full,layers=2,heads=2,head-bytes=64,slices=2",
      "--group",    "name=window,heads=2,head-bytes=256,rule=trailing:4"};
  const json made = CtlJson(create);
  EXPECT_EQ(made["namespace"], "twin");
  EXPECT_EQ(made["quota_bytes"], 16 << 20);

  const json list = CtlJson({"namespaces"});
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["name"], "twin");
  EXPECT_EQ(list[0]["model"], "m");
  EXPECT_EQ(list[0]["revision"], "r1");
  EXPECT_EQ(list[0]["dtype"], "bf16");
  EXPECT_EQ(list[0]["quota_bytes"], 16 << 20);
  EXPECT_EQ(list[0]["fingerprint"].get<std::string>().size(), 64u);
  for (const char* const counter :
       {"standby_blocks", "adopted_blocks", "stalled_publications",
        "open_publications"}) {
    EXPECT_EQ(list[0][counter], 0) << counter;
  }
  ASSERT_EQ(list[0]["groups"].size(), 2u);
  EXPECT_EQ(list[0]["groups"][0]["page_bytes"], 2 * 2 * 64 * 2 * 16);
  EXPECT_EQ(list[0]["groups"][0]["slice_count"], 2);
  EXPECT_GT(list[0]["groups"][0]["blocks"], 0);
  EXPECT_EQ(list[0]["groups"][1]["rule"], "trailing 4");

  const std::string text = Ctl({"namespaces"}).out;
  EXPECT_THAT(text, HasSubstr("m@r1"));
  EXPECT_THAT(text, HasSubstr("16 MiB"));
  EXPECT_THAT(text, HasSubstr("trailing 4"));
  EXPECT_THAT(text, HasSubstr("STALLED"));

  const ProgramResult again = Ctl(create);
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, HasSubstr("twin"));
}

TEST_F(KvferryctlTest, ANamespaceThatDoesNotFitIsRefused) {
  const ProgramResult result =
      Ctl({"namespaces", "create", "--name", "big", "--model", "m", "--dtype",
           "u8", "--quota", "1TiB", "--group", "head-bytes=256"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("quota"));
}

TEST_F(KvferryctlTest, TheNamespaceMayBeLeftOutWhenThereIsOne) {
  const ProgramResult none = Ctl({"clear"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("no namespace yet"));

  ASSERT_EQ(
      Ctl({"namespaces", "create", "--name", "a", "--model", "m", "--dtype",
           "u8", "--quota", "8MiB", "--group", "head-bytes=256"})
          .exit_code,
      0);
  EXPECT_EQ(CtlJson({"clear"})["namespace"], "a");

  ASSERT_EQ(
      Ctl({"namespaces", "create", "--name", "b", "--model", "m", "--dtype",
           "u8", "--quota", "8MiB", "--group", "head-bytes=256"})
          .exit_code,
      0);
  const ProgramResult two = Ctl({"clear"});
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_THAT(two.err, HasSubstr("one of \"a\", \"b\""));
}

TEST_F(KvferryctlTest, AnUnknownNamespaceIsNamed) {
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"blocks"},
                                             {"match", "--tokens", "-"},
                                             {"evict", "--limit", "1"},
                                             {"clear"}}) {
    std::vector<std::string> words = verb;
    words.insert(words.end(), {"--namespace", "nowhere"});
    const ProgramResult result = Ctl(words);
    EXPECT_EQ(result.exit_code, 1) << verb[0];
    EXPECT_THAT(result.err, HasSubstr("nowhere"));
    EXPECT_THAT(result.err, HasSubstr("`kvferryctl namespaces` lists"));
  }
}

TEST_F(KvferryctlTest, ListsSessionsWithoutTheirControlCharacters) {
  EXPECT_EQ(CtlJson({"sessions"}), json::array());
  const std::unique_ptr<Client> client = Attach(kName, "engine 7");
  ASSERT_NE(client, nullptr);

  const json list = CtlJson({"sessions"});
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["namespace"], kName);
  EXPECT_EQ(list[0]["client"], "engine 7");
  EXPECT_EQ(list[0]["pid"], ::getpid());
  EXPECT_EQ(list[0]["uid"], ::getuid());
  EXPECT_EQ(list[0]["publish"], true);
  EXPECT_EQ(list[0]["pinned_blocks"], 0);

  const std::string text = Ctl({"sessions"}).out;
  EXPECT_THAT(text, HasSubstr("engine 7"));
  EXPECT_THAT(text, HasSubstr("publish"));
}

// Goal    Another user learns nothing, whether the socket is closed to others
//         or, for others may read a namespace, open.
TEST_F(KvferryctlTest, AnswersNoStranger) {
  if (::getuid() != 0) GTEST_SKIP() << "only root can become another user";
  if (!OthersReachTheProgram()) GTEST_SKIP() << "the build tree is closed";
  test::ProgramOptions as_nobody;
  as_nobody.uid = 65534;

  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{}, {"--allow-read", "*"}}) {
    daemon_.reset();
    test::DaemonProcess::Options options;
    options.folder_mode = 0755;
    options.extra_args = arguments;
    auto daemon = test::DaemonProcess::Start(options);
    ASSERT_THAT(daemon, IsOk());
    daemon_ = *std::move(daemon);

    for (const std::vector<std::string>& verb :
         std::vector<std::vector<std::string>>{
             {"status"}, {"namespaces"}, {"sessions"}, {"clear"}}) {
      const ProgramResult result = Ctl(verb, as_nobody);
      EXPECT_EQ(result.exit_code, 1) << verb[0];
      EXPECT_THAT(result.err, HasSubstr("the daemon's own user"));
      EXPECT_THAT(result.out, IsEmpty());
    }
  }
}

// Goal    Who may read a namespace may ask what it has, but has to name it.

}  // namespace
}  // namespace kvferry
