#ifndef KVFERRY_TESTS_INTEGRATION_TOOLS_KVFERRYCTL_FIXTURE_H_
#define KVFERRY_TESTS_INTEGRATION_TOOLS_KVFERRYCTL_FIXTURE_H_

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvferry/client.h"
#include "nlohmann/json.hpp"
#include "tests/integration/tools/run_program.h"
#include "tests/support/daemon_process.h"
#include "tests/support/program_path.h"
#include "tests/support/status_matchers.h"

namespace kvferry {

// A daemon, kvferryctl runs against it, and a namespace to look at.
class KvferryctlTest : public testing::Test {
 protected:
  static constexpr uint32_t kBlockTokens = 16;
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr char kName[] = "letters";

  static std::string Program() { return test::ProgramPath(KVFERRYCTL_PATH); }

  void SetUp() override {
    auto daemon = test::DaemonProcess::Start();
    ASSERT_THAT(daemon, test::IsOk());
    daemon_ = *std::move(daemon);
  }

  test::ProgramResult Ctl(std::vector<std::string> words,
                          const test::ProgramOptions& options = {}) {
    words.insert(words.begin(),
                 {Program(), "--socket", daemon_->socket_path()});
    return test::RunProgram(std::move(words), options);
  }

  // The JSON that a call prints, which must succeed.
  nlohmann::json CtlJson(std::vector<std::string> words,
                         const test::ProgramOptions& options = {}) {
    words.push_back("--json");
    const test::ProgramResult result = Ctl(std::move(words), options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr,
                                 /*allow_exceptions=*/false);
  }

  std::unique_ptr<Client> Attach(const std::string& name = kName,
                                 const std::string& client_name = "test") {
    AttachOptions options;
    options.socket_path = daemon_->socket_path();
    options.spec.name = name;
    options.spec.model = "alphabet";
    options.spec.dtype = "u8";
    options.spec.groups.push_back(OpaqueGroup(kBlockTokens, kPageBytes));
    options.client_name = client_name;
    auto client = Client::Attach(options);
    EXPECT_THAT(client, test::IsOk());
    return client.ok() ? *std::move(client) : nullptr;
  }

  // Publishes the full blocks of `tokens` and returns their keys.
  std::vector<BlockKey> Publish(Client& client,
                                const std::vector<uint32_t>& tokens) {
    std::vector<BlockKey> keys;
    KeyHasher hasher(client.info().salt, 0, kBlockTokens);
    hasher.HashBlocks(BlockKey(), tokens, &keys);
    const std::vector<std::byte> page(kPageBytes, std::byte{1});
    const std::vector<const std::byte*> sources(keys.size(), page.data());
    EXPECT_THAT(client.Publish(0, BlockKey(), keys, sources),
                test::IsOkAndHolds(keys.size()));
    return keys;
  }

  // Whether another user could run the program where it lies.
  static bool OthersReachTheProgram() {
    const std::filesystem::path program = Program();
    for (auto folder = program.parent_path(); folder != folder.root_path();
         folder = folder.parent_path()) {
      const auto mode = std::filesystem::status(folder).permissions();
      if ((mode & std::filesystem::perms::others_exec) ==
          std::filesystem::perms::none) {
        return false;
      }
    }
    return true;
  }

  static std::vector<uint32_t> Tokens(uint32_t count) {
    std::vector<uint32_t> tokens(count);
    std::iota(tokens.begin(), tokens.end(), 1);
    return tokens;
  }

  static std::string Text(const std::vector<uint32_t>& tokens) {
    std::string text;
    for (const uint32_t token : tokens) text += std::to_string(token) + "\n";
    return text;
  }

  std::unique_ptr<test::DaemonProcess> daemon_;
};

}  // namespace kvferry

#endif  // KVFERRY_TESTS_INTEGRATION_TOOLS_KVFERRYCTL_FIXTURE_H_
