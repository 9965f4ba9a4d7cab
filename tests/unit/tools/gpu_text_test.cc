// What `kvferryctl gpu` prints, from what a daemon could have said.

#include "tools/kvferryctl/gpu_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_split.h"
#include "tools/kvferryctl/gpu_json.h"

namespace kvferry::ctl {
namespace {

using testing::HasSubstr;
using testing::Not;
using tools::Json;

GpuStatus Serving() {
  GpuStatus gpu;
  gpu.device = 0;
  gpu.uuid = "GPU-01234567-89ab-cdef-0123-456789abcdef";
  gpu.configured_as = gpu.uuid;
  gpu.state = "serving";
  gpu.name = "NVIDIA H100 80GB HBM3";
  gpu.worker_pid = 4194304;
  gpu.export_mode = "auto";
  gpu.total_bytes = uint64_t{80} << 30;
  gpu.pool_bytes = uint64_t{16} << 30;
  gpu.used_bytes = uint64_t{4} << 30;
  gpu.driver_version = 13000;
  gpu.runtime_version = 13010;
  gpu.bytes_to_host = uint64_t{10} << 30;
  gpu.capabilities = {{"ipc", true, ""},
                      {"vmm", false,
                       "the device's memory cannot be exported by descriptor "
                       "inside this container, whose seccomp profile says no"}};
  GpuPoolStatus pool;
  pool.namespace_name = "a namespace whose name is far too long for a column";
  pool.group_name = "full";
  pool.pool = 1;
  pool.incarnation = 3;
  pool.exported_by = "handle";
  pool.blocks = 1'234'567;
  pool.free = 1'234'567;
  pool.ready = 1'234'567;
  pool.not_clean = 1'234'567;
  pool.high_blocks = 1'234'567;
  pool.low_blocks = 1'234'567;
  pool.quarantined = 16;
  pool.resting = 15;
  pool.stride_bytes = uint64_t{4} << 20;
  pool.written_behind = 1000;
  pool.promoted = 50;
  gpu.pools.push_back(pool);
  gpu.imports.push_back({.session = 7, .client_name = "engine", .pid = 4242});
  return gpu;
}

size_t LongestLine(const std::string& text) {
  size_t longest = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    longest = std::max(longest, line.size());
  }
  return longest;
}

TEST(GpuTextTest, SaysThatThereIsNoDevice) {
  EXPECT_THAT(GpusText({}), HasSubstr("serves no GPU"));
  EXPECT_EQ(GpusJson({}), Json::array());
}

TEST(GpuTextTest, StaysWithinEightyColumns) {
  const std::string text = GpusText({.now = {Serving()}, .earlier = {}});

  EXPECT_LE(LongestLine(text), 80u) << text;
  EXPECT_THAT(text, HasSubstr("GPU-01234567-89ab-cdef-0123-456789abcdef"));
  EXPECT_THAT(text, HasSubstr("CUDA"));
  EXPECT_THAT(text, HasSubstr("13.0, runtime 13.1"));
  EXPECT_THAT(text, HasSubstr("4 GiB of 16 GiB in namespaces (25.0 %)"));
  EXPECT_THAT(text, HasSubstr("vmm: the device's memory"));
  EXPECT_THAT(text, HasSubstr("a namespace whose na.."));
  EXPECT_THAT(text, HasSubstr("POOL, IN ALL"));
  EXPECT_THAT(text, HasSubstr("engine"));
}

// Goal    Nobody takes the emulated device for a GPU.
TEST(GpuTextTest, NamesTheEmulatedDeviceSo) {
  GpuStatus gpu = Serving();
  gpu.emulated = true;
  gpu.uuid = "emulated:0";

  EXPECT_THAT(GpusText({.now = {gpu}, .earlier = {}}),
              HasSubstr("EMULATED (no GPU)"));
  EXPECT_THAT(GpuLine(gpu), HasSubstr("emulated:0 (emulated), serving"));
  EXPECT_EQ(GpusJson({.now = {gpu}, .earlier = {}})[0]["emulated"], true);
  EXPECT_THAT(GpusText({.now = {Serving()}, .earlier = {}}),
              Not(HasSubstr("EMULATED")));
}

TEST(GpuTextTest, SaysWhyADeviceDoesNotServe) {
  GpuStatus gpu;
  gpu.configured_as = "GPU-ffffffff-0000-0000-0000-000000000000";
  gpu.state = "backoff";
  gpu.reason = "the driver's version is 12080, needed is 13000";
  gpu.restarts = 3;

  const std::string text = GpusText({.now = {gpu}, .earlier = {}});

  EXPECT_THAT(text, HasSubstr(gpu.configured_as));
  EXPECT_THAT(text, HasSubstr(gpu.reason));
  EXPECT_THAT(text, HasSubstr("none, 3 restarts"));
  EXPECT_THAT(text, HasSubstr("No namespace has memory here"));
  EXPECT_THAT(text, HasSubstr("No session has opened it"));
  EXPECT_THAT(GpuLine(gpu), HasSubstr("backoff (the driver's"));
}

TEST(GpuTextTest, SaysWhyAPoolHasNoMemory) {
  GpuStatus gpu = Serving();
  gpu.pools[0].incarnation = 4;
  gpu.pools[0].exported_by = "none";
  gpu.pools[0].reason = "the worker is being restarted";

  const std::string text = GpusText({.now = {gpu}, .earlier = {}});

  EXPECT_THAT(text, HasSubstr("the worker is being restarted"));
  EXPECT_LE(LongestLine(text), 80u) << text;
}

// Goal    Rates are of what was counted between the two looks, also when a
//         restart of the daemon began the counters anew.
TEST(GpuTextTest, PrintsRatesBetweenTwoLooks) {
  GpuSamples samples;
  samples.now = {Serving()};
  GpuStatus before = Serving();
  before.bytes_to_host -= uint64_t{1} << 30;
  before.pools[0].written_behind = 900;
  before.pools[0].promoted = 5000;
  samples.earlier = {{before}, absl::Seconds(2)};

  const Json json = GpusJson(samples)[0];
  EXPECT_EQ(json["interval_ms"], 2000);
  EXPECT_EQ(json["bytes_to_host_per_s"], double{1 << 29});
  EXPECT_EQ(json["pools"][0]["written_behind"], 1000);
  EXPECT_EQ(json["pools"][0]["written_behind_per_s"], 50.0);
  EXPECT_EQ(json["pools"][0]["promoted_per_s"], 25.0);

  const std::string text = GpusText(samples);
  EXPECT_THAT(text, HasSubstr("512 MiB/s to the host"));
  EXPECT_THAT(text, HasSubstr("POOL, A SECOND"));
  EXPECT_LE(LongestLine(text), 80u) << text;
}

// Goal    A device that came between the two looks has no rate of its own.
TEST(GpuTextTest, ADeviceThatWasNotThereBeforeHasTotals) {
  GpuSamples samples;
  samples.now = {Serving()};
  samples.earlier = {{}, absl::Seconds(1)};

  const Json json = GpusJson(samples)[0];
  EXPECT_FALSE(json.contains("interval_ms"));
  EXPECT_EQ(json["bytes_to_host"], uint64_t{10} << 30);
  EXPECT_THAT(GpusText(samples), HasSubstr("POOL, IN ALL"));
}

TEST(GpuTextTest, ReplacesControlCharactersOfClients) {
  GpuStatus gpu = Serving();
  gpu.imports[0].client_name = "a\x1b[2Jb";
  EXPECT_THAT(GpusText({.now = {gpu}, .earlier = {}}), HasSubstr("a?[2Jb"));
}

}  // namespace
}  // namespace kvferry::ctl
