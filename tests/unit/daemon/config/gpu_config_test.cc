#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "daemon/config/command_line.h"
#include "daemon/config/config_fields.h"
#include "daemon/config/config_file.h"
#include "tests/support/status_matchers.h"

// Section [gpu] of the configuration.
namespace kvferry::config {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr char kDevice[] = "GPU-9b3c61a2-04d7-4e4f-8d11-00ffeeddccbb";

absl::StatusOr<Config> Read(std::vector<std::string> args) {
  std::vector<const char*> argv = {"kvferryd"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  absl::StatusOr<CommandLine> line =
      ReadCommandLine(static_cast<int>(argv.size()), argv.data(), {64 * kGiB});
  if (!line.ok()) return line.status();
  return line->config;
}

auto IsRefused(const std::string& why) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why));
}

TEST(GpuConfigTest, ByDefaultThereIsNoGpu) {
  const auto config = Read({});

  ASSERT_THAT(config, IsOk());
  EXPECT_THAT(config->gpu_devices, IsEmpty());
  EXPECT_EQ(config->gpu_pool_size_bytes, kGiB);
  EXPECT_EQ(config->gpu_namespace_quota_bytes, 0u);
  EXPECT_EQ(config->gpu_export, GpuExport::kAuto);
  EXPECT_EQ(config->gpu_high_percent, 90u);
  EXPECT_EQ(config->gpu_low_percent, 75u);
  EXPECT_EQ(config->gpu_promotion_bytes_per_second, kGiB);
  EXPECT_THAT(config->gpu_worker, IsEmpty());
}

TEST(GpuConfigTest, AFileSaysEverything) {
  Config config;
  ASSERT_THAT(ReadConfigText("[gpu]\n"
                             "devices = [\"" +
                                 std::string(kDevice) +
                                 "\", \"emulated:3\"]\n"
                                 "pool_size = \"2GiB\"\n"
                                 "namespace_quota = \"512MiB\"\n"
                                 "export = \"ipc\"\n"
                                 "high_watermark = 80\n"
                                 "low_watermark = \"60%\"\n"
                                 "promotion_rate = \"100MiB\"\n"
                                 "worker = \"/opt/kvferry-gpu\"\n",
                             "kv.toml", {64 * kGiB}, &config),
              IsOk());

  ASSERT_EQ(config.gpu_devices.size(), 2u);
  EXPECT_EQ(protocol::FormatGpuName(config.gpu_devices[0]), kDevice);
  EXPECT_EQ(protocol::FormatGpuName(config.gpu_devices[1]), "emulated:3");
  EXPECT_EQ(config.gpu_pool_size_bytes, 2 * kGiB);
  EXPECT_EQ(config.gpu_namespace_quota_bytes, 512 * kMiB);
  EXPECT_EQ(config.gpu_export, GpuExport::kIpc);
  EXPECT_EQ(config.gpu_high_percent, 80u);
  EXPECT_EQ(config.gpu_low_percent, 60u);
  EXPECT_EQ(config.gpu_promotion_bytes_per_second, 100 * kMiB);
  EXPECT_EQ(config.gpu_worker, "/opt/kvferry-gpu");
}

TEST(GpuConfigTest, FlagsSayTheSame) {
  const auto config =
      Read({"--gpu-devices", std::string(kDevice) + ", emulated:0",
            "--gpu-pool-size", "64MiB", "--gpu-namespace-quota", "rest",
            "--gpu-export", "vmm", "--gpu-high-watermark", "95%",
            "--gpu-low-watermark", "94", "--gpu-promotion-rate", "0"});

  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->gpu_devices.size(), 2u);
  EXPECT_EQ(config->gpu_pool_size_bytes, 64 * kMiB);
  EXPECT_EQ(config->gpu_export, GpuExport::kVmm);
  EXPECT_EQ(config->gpu_high_percent, 95u);
  EXPECT_EQ(config->gpu_low_percent, 94u);
  EXPECT_EQ(config->gpu_promotion_bytes_per_second, 0u);
}

TEST(GpuConfigTest, AnOrdinalIsRefusedWithTheReason) {
  EXPECT_THAT(Read({"--gpu-devices", "0"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--gpu-devices = \"0\""),
                             HasSubstr("ordinal"), HasSubstr("nvidia-smi"))));
}

TEST(GpuConfigTest, DevicesThatAreNoneAreNamed) {
  EXPECT_THAT(Read({"--gpu-devices", "emulated:0,cuda:1"}),
              IsRefused("\"cuda:1\" is not the name of a device"));
  EXPECT_THAT(Read({"--gpu-devices", "emulated:1,emulated:1"}),
              IsRefused("\"emulated:1\" is there twice"));
  std::string many = "emulated:0";
  for (int i = 1; i <= 16; ++i) many += ",emulated:" + std::to_string(i);
  EXPECT_THAT(Read({"--gpu-devices", many}),
              IsRefused("17 devices, the limit is 16"));
}

TEST(GpuConfigTest, SizesHaveLimits) {
  EXPECT_THAT(Read({"--gpu-pool-size", "1KiB"}),
              IsRefused("1KiB is out of range, from 1MiB"));
  EXPECT_THAT(Read({"--gpu-pool-size", "50%"}),
              IsRefused("a share of unknown memory"));
  EXPECT_THAT(Read({"--gpu-promotion-rate", "fast"}),
              IsRefused("--gpu-promotion-rate = \"fast\""));
  EXPECT_THAT(
      Read({"--gpu-pool-size", "1GiB", "--gpu-namespace-quota", "2GiB"}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("gpu.namespace_quota = 2GiB"),
                     HasSubstr("gpu.pool_size = 1GiB"))));
}

TEST(GpuConfigTest, WatermarksAreInOrder) {
  for (const char* low : {"80", "85", "100"}) {
    EXPECT_THAT(
        Read({"--gpu-high-watermark", "80", "--gpu-low-watermark", low}),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("gpu.high_watermark = 80%"),
                       HasSubstr(std::string("gpu.low_watermark = ") + low))));
  }
  EXPECT_THAT(Read({"--gpu-high-watermark", "101"}),
              IsRefused("101% is out of range, from 1% to 100%"));
  EXPECT_THAT(Read({"--gpu-low-watermark", "0"}), IsRefused("0% is out"));
  EXPECT_THAT(Read({"--gpu-low-watermark", "0.5"}),
              IsRefused("not a percentage"));
}

TEST(GpuConfigTest, OtherValuesAreRefused) {
  EXPECT_THAT(Read({"--gpu-export", "fd"}),
              IsRefused("accepted: auto, vmm or ipc"));
  EXPECT_THAT(Read({"--gpu-worker", "kvferry-gpu"}),
              IsRefused("not an absolute path"));
}

TEST(GpuConfigTest, TheHelpNamesEveryKey) {
  const std::string help = DescribeFields();

  EXPECT_THAT(help, HasSubstr("\n[gpu]\n"));
  for (const char* key :
       {"devices", "pool_size", "namespace_quota", "export", "high_watermark",
        "low_watermark", "promotion_rate", "worker"}) {
    EXPECT_NE(FindField("gpu", key), nullptr) << key;
  }
  EXPECT_THAT(help, HasSubstr("--gpu-devices"));
}

}  // namespace
}  // namespace kvferry::config
