#include "daemon/config/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"

namespace kvferry::config {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr Machine kMachine{uint64_t{64} << 30};

absl::Status Read(const std::string& text, Config* config) {
  return ReadConfigText(text, "kv.toml", kMachine, config);
}

absl::Status Read(const std::string& text) {
  Config config;
  return Read(text, &config);
}

TEST(ConfigFileTest, ReadsEveryKey) {
  Config config;

  ASSERT_THAT(Read(R"(
      [daemon]
      socket = "/run/a.sock"
      directory = "/dev/shm/a"
      spin_us = "max"
      log_level = "debug"
      [memory]
      pool_size = "25%"
      huge_pages = "on"
      lock = "off"
      numa_node = 1
      segment_size = "256MiB"
      [template]
      allow_create = false
      quota = "1GiB"
      allow_read = ["*"]
      allow_publish = [0, "@0"]
      [[namespace]]
      name = "llama"
      allow_publish = ["root", 12]
      [[namespace]]
      name = "qwen"
      allow_read = [7])",
                   &config),
              IsOk());

  EXPECT_EQ(config.socket, "/run/a.sock");
  EXPECT_EQ(config.directory, "/dev/shm/a");
  EXPECT_EQ(config.spin_us, kSpinForever);
  EXPECT_EQ(config.log_level, LogLevel::kDebug);
  EXPECT_EQ(config.pool_size_bytes, uint64_t{16} << 30);
  EXPECT_EQ(config.huge_pages, Toggle::kOn);
  EXPECT_EQ(config.lock, Toggle::kOff);
  EXPECT_EQ(config.numa_node, 1);
  EXPECT_EQ(config.segment_size_bytes, 256u << 20);
  EXPECT_FALSE(config.allow_create);
  EXPECT_EQ(config.namespace_quota_bytes, 1u << 30);
  EXPECT_TRUE(config.default_read.everybody);
  EXPECT_EQ(config.default_publish, (AccessList{false, {0}, {0}}));
  ASSERT_EQ(config.namespaces.size(), 2u);
  EXPECT_EQ(config.namespaces[0].name, "llama");
  EXPECT_EQ(config.namespaces[0].publish, (AccessList{false, {0, 12}, {}}));
  EXPECT_EQ(config.namespaces[1].read, (AccessList{false, {7}, {}}));
  EXPECT_TRUE(config.open_to_others());
}

TEST(ConfigFileTest, AnEmptyFileKeepsDefaultsAndIsClosedToOthers) {
  Config config;

  ASSERT_THAT(Read("", &config), IsOk());

  EXPECT_EQ(config.spin_us, 20);
  EXPECT_TRUE(config.allow_create);
  EXPECT_FALSE(config.open_to_others());
}

struct BadFile {
  const char* text;
  const char* place_and_value;
  const char* accepted;
};

class BadConfigFileTest : public testing::TestWithParam<BadFile> {};

TEST_P(BadConfigFileTest, IsRefusedWithPlaceValueAndWhatIsAccepted) {
  EXPECT_THAT(Read(GetParam().text),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith(GetParam().place_and_value),
                             HasSubstr(GetParam().accepted))));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadConfigFileTest,
    testing::Values(
        BadFile{"[memory]\n\nhugepages = \"on\"",
                "kv.toml:3: memory.hugepages = 'on': unknown key",
                "accepted: pool_size, huge_pages, lock, numa_node"},
        BadFile{"[disk]\na = 1", "kv.toml:1: disk: unknown section",
                "accepted: daemon, memory, gpu, template, namespace"},
        BadFile{"memory = 3", "kv.toml:1: memory = 3: not a section",
                "accepted: [memory]"},
        BadFile{"[namespace]\nname = \"a\"", "kv.toml:1: namespace",
                "accepted: [[namespace]]"},
        BadFile{"[memory]\npool_size = \"8 GB\"",
                "kv.toml:2: memory.pool_size = '8 GB': not a size",
                "accepted: a number with B, KiB, MiB, GiB or TiB"},
        BadFile{"[memory]\npool_size = true",
                "kv.toml:2: memory.pool_size = true: wrong type",
                "accepted: a number with B"},
        BadFile{"[memory]\npool_size = \"4KiB\"",
                "kv.toml:2: memory.pool_size = '4KiB': 4KiB is out of range",
                "from 1MiB"},
        BadFile{"[memory]\nhuge_pages = \"yes\"",
                "kv.toml:2: memory.huge_pages = 'yes'",
                "accepted: auto, on or off"},
        BadFile{"[memory]\nnuma_node = -1",
                "kv.toml:2: memory.numa_node = -1: not a node",
                "accepted: auto, or a node from 0 to 1023"},
        BadFile{"[memory]\nsegment_size = \"2GiB\"",
                "kv.toml:2: memory.segment_size = '2GiB': 2GiB is out of range",
                "from 2MiB to 1GiB"},
        BadFile{"[daemon]\nspin_us = 2000000",
                "kv.toml:2: daemon.spin_us = 2000000: out of range",
                "accepted: microseconds from 0 to 1000000"},
        BadFile{"[daemon]\nspin_us = 1.5",
                "kv.toml:2: daemon.spin_us = 1.5: wrong type",
                "accepted: microseconds"},
        BadFile{"[daemon]\nsocket = \"run/a\"",
                "kv.toml:2: daemon.socket = 'run/a': not an absolute path",
                "accepted: an absolute path of at most 107 bytes"},
        BadFile{"[daemon]\nlog_level = \"loud\"",
                "kv.toml:2: daemon.log_level = 'loud'",
                "accepted: trace, debug, info, warning or error"},
        BadFile{"[template]\nallow_create = \"true\"",
                "kv.toml:2: template.allow_create = 'true': wrong type",
                "accepted: true or false"},
        BadFile{"[template]\nallow_read = \"*\"",
                "kv.toml:2: template.allow_read = '*': wrong type",
                "accepted: a list of user names"},
        BadFile{"[template]\nallow_read = [\"no-such-user\"]",
                "kv.toml:2: template.allow_read = ", "no user `no-such-user`"},
        BadFile{"[template]\nallow_read = [1.5]",
                "kv.toml:2: template.allow_read = ", "wrong type"},
        BadFile{"[[namespace]]\nallow_read = [1]",
                "kv.toml:1: namespace.name: missing", "accepted"},
        BadFile{"[[namespace]]\nname = \"a\"\n[[namespace]]\nname = \"a\"",
                "kv.toml:4: namespace.name = 'a': a second entry",
                "accepted: a namespace's name"},
        BadFile{"[memory\n", "kv.toml:1: not TOML", ""}));

TEST(ConfigFileTest, AMissingFileIsNamed) {
  Config config;

  EXPECT_THAT(
      ReadConfigFile("/no/such/file.toml", kMachine, &config),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/file.toml")));
}

}  // namespace
}  // namespace kvferry::config
