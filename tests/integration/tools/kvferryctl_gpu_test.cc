// What kvferryctl shows of GPUs, with a device that the daemon serves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "kvferry/gpu.h"
#include "tests/integration/tools/kvferryctl_fixture.h"
#include "tests/support/becomes.h"
#include "tests/support/test_device.h"

namespace kvferry {
namespace {

using nlohmann::json;
using test::Becomes;
using test::IsOk;
using testing::HasSubstr;

class KvferryctlGpuTest : public KvferryctlTest {
 protected:
  void SetUp() override {
    test::DaemonProcess::Options options;
    // Nothing that would change the counts by itself.
    options.extra_args = test::GpuDaemonFlags("8MiB");
    options.extra_args.insert(options.extra_args.end(),
                              {"--gpu-promotion-rate", "0"});
    auto daemon = test::DaemonProcess::Start(options);
    ASSERT_THAT(daemon, IsOk());
    daemon_ = *std::move(daemon);
    ASSERT_TRUE(Becomes([&] { return Gpu0()["state"] == "serving"; }))
        << Gpu0();
  }

  json Gpu0() { return CtlJson({"gpu"})[0]; }
  json Pool0() { return Gpu0()["pools"][0]; }

  std::unique_ptr<Gpu> Open(Client& client) {
    GpuOptions options;
    options.device = test::TestDeviceName();
    auto gpu = Gpu::Open(&client, options);
    EXPECT_THAT(gpu, IsOk());
    if (!gpu.ok()) return nullptr;
    EXPECT_TRUE(Becomes([&] { return (*gpu)->has_pool(); }))
        << (*gpu)->pool_status();
    return *std::move(gpu);
  }

  // Commits `count` blocks in the device's memory, whatever bytes are there.
  static std::vector<BlockKey> PublishInGpu(Client& client, uint32_t count) {
    std::vector<BlockKey> keys;
    KeyHasher hasher(client.info().salt, 0, kBlockTokens);
    hasher.HashBlocks(BlockKey(), Tokens(count * kBlockTokens), &keys);
    PublicationOptions options;
    options.residence = BlockResidence::kGpu;
    auto publication = client.OpenPublication(options);
    EXPECT_THAT(publication, IsOk());
    if (!publication.ok()) return {};
    EXPECT_THAT(publication->Begin(0, BlockKey(), keys), IsOk());
    for (uint32_t i = 0; i < count; ++i) {
      EXPECT_EQ(publication->residence(i), BlockResidence::kGpu);
    }
    EXPECT_THAT(publication->CommitAndWait(0, count), IsOk());
    EXPECT_THAT(publication->Close(), IsOk());
    return keys;
  }
};

TEST_F(KvferryctlTest, SaysWhenTheDaemonServesNoGpu) {
  EXPECT_EQ(CtlJson({"gpu"}), json::array());
  EXPECT_THAT(Ctl({"gpu"}).out, HasSubstr("serves no GPU"));
  EXPECT_EQ(CtlJson({"status"})["gpus"], json::array());
}

// Goal    An operator sees which devices are served, and takes an emulated one
//         for nothing else.
TEST_F(KvferryctlGpuTest, ShowsTheDevice) {
  const json gpu = Gpu0();
  EXPECT_EQ(gpu["device"], 0);
  EXPECT_EQ(gpu["uuid"], test::TestDeviceName());
  EXPECT_EQ(gpu["configured_as"], test::TestDeviceName());
  EXPECT_EQ(gpu["emulated"], !test::TestsOnCuda());
  EXPECT_EQ(gpu["pool_bytes"], 8 << 20);
  EXPECT_EQ(gpu["used_bytes"], 0);
  EXPECT_EQ(gpu["restarts"], 0);
  EXPECT_GT(gpu["worker_pid"], 0);
  EXPECT_FALSE(gpu["capabilities"].empty());
  for (const json& capability : gpu["capabilities"]) {
    EXPECT_NE(capability["available"].get<bool>(),
              !capability["reason"].get<std::string>().empty())
        << capability;
  }

  const std::string text = Ctl({"gpu"}).out;
  EXPECT_THAT(text, HasSubstr(test::TestsOnCuda() ? "CUDA" : "EMULATED"));
  EXPECT_THAT(text, HasSubstr("No namespace has memory here"));
  EXPECT_THAT(Ctl({"status"}).out, HasSubstr("0 B of 8 MiB in namespaces"));
  EXPECT_EQ(CtlJson({"status"})["gpus"][0]["state"], "serving");
}

// Goal    A namespace's pool, its blocks and who may write to it are there to
//         be seen, from each verb.
TEST_F(KvferryctlGpuTest, ShowsPoolsSessionsAndBlocks) {
  const std::unique_ptr<Client> client = Attach(kName, "engine 7");
  ASSERT_NE(client, nullptr);
  EXPECT_TRUE(CtlJson({"sessions"})[0]["gpu"].is_null());
  const std::unique_ptr<Gpu> gpu = Open(*client);
  ASSERT_NE(gpu, nullptr);

  const std::vector<BlockKey> keys = PublishInGpu(*client, 3);
  ASSERT_EQ(keys.size(), 3u);

  EXPECT_EQ(CtlJson({"sessions"})[0]["gpu"], 0);
  ASSERT_TRUE(Becomes([&] { return Pool0()["written_behind"] == 3; }))
      << Pool0();
  const json device = Gpu0();
  ASSERT_EQ(device["imports"].size(), 1u);
  EXPECT_EQ(device["imports"][0]["client"], "engine 7");
  EXPECT_EQ(device["imports"][0]["pid"], ::getpid());
  EXPECT_GT(device["used_bytes"], 0);
  EXPECT_EQ(device["bytes_to_host"], 3 * kPageBytes);
  const json pool = Pool0();
  EXPECT_EQ(pool["namespace"], kName);
  EXPECT_EQ(pool["pool"], 1);
  EXPECT_EQ(pool["incarnation"], 1);
  EXPECT_EQ(pool["ready"], 3);
  EXPECT_EQ(pool["not_clean"], 0);
  EXPECT_LT(pool["low_blocks"], pool["high_blocks"]);

  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  ASSERT_EQ(prefix.residence(0), BlockResidence::kGpu);
  const json block = CtlJson({"blocks", "--prefix", ToHex(keys[0])})[0];
  EXPECT_EQ(block["state"], "ready");
  EXPECT_EQ(block["pins"], 0);
  EXPECT_EQ(block["gpu"]["pool"], 1);
  EXPECT_EQ(block["gpu"]["state"], "ready");
  EXPECT_EQ(block["gpu"]["pins"], 1);
  prefix.Release();

  EXPECT_THAT(Ctl({"blocks"}).out, HasSubstr("pool 1, block"));
  EXPECT_THAT(Ctl({"gpu"}).out, HasSubstr("engine 7"));
  EXPECT_EQ(CtlJson({"namespaces"})[0]["groups"][0]["in_io"], 0);
}

TEST_F(KvferryctlGpuTest, PrintsRatesWithAnInterval) {
  const json gpu = CtlJson({"gpu", "--interval", "20ms"})[0];
  EXPECT_GE(gpu["interval_ms"], 20);
  EXPECT_EQ(gpu["bytes_to_host_per_s"], 0);
  EXPECT_FALSE(Gpu0().contains("interval_ms"));
}

// Goal    A worker that died is seen: as a restart, and by a pool that has
//         another memory.
TEST_F(KvferryctlGpuTest, ShowsThatAWorkerWasRestarted) {
  const std::unique_ptr<Client> client = Attach();
  ASSERT_NE(client, nullptr);
  ASSERT_TRUE(Becomes([&] { return Pool0()["incarnation"] == 1; }));

  ASSERT_EQ(::kill(Gpu0()["worker_pid"].get<pid_t>(), SIGKILL), 0);

  EXPECT_TRUE(Becomes([&] {
    return Gpu0()["restarts"] == 1 && Gpu0()["state"] == "serving" &&
           Pool0()["incarnation"] == 3;
  })) << Gpu0();
}

}  // namespace
}  // namespace kvferry
