#include "daemon/config/config_gpu_fields.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "daemon/config/field_setters.h"
#include "daemon/config/size.h"
#include "protocol/gpu_name.h"
#include "protocol/limits.h"

namespace kvferry::config {
namespace {

constexpr uint64_t kGpuPoolBytesMin = uint64_t{1} << 20;
constexpr char kGpuSizeSyntax[] =
    "a number with B, KiB, MiB, GiB or TiB (\"1.5GiB\")";
constexpr char kPercentSyntax[] = "a percentage from 1 to 100 (90, or \"90%\")";
constexpr Choice<GpuExport> kExports[] = {{"auto", GpuExport::kAuto},
                                          {"vmm", GpuExport::kVmm},
                                          {"ipc", GpuExport::kIpc}};

absl::Status SetDevices(absl::string_view text, const Machine&,
                        Config* config) {
  std::vector<protocol::GpuName> devices;
  for (absl::string_view part :
       absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    part = absl::StripAsciiWhitespace(part);
    uint32_t ordinal = 0;
    if (absl::SimpleAtoi(part, &ordinal)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", part,
          "\" is an ordinal, which changes with the order in which devices are "
          "found; nvidia-smi -L prints UUIDs"));
    }
    const absl::StatusOr<protocol::GpuName> name = protocol::ParseGpuName(part);
    if (!name.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", part, "\" is ", name.status().message()));
    }
    if (std::find(devices.begin(), devices.end(), *name) != devices.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", part, "\" is there twice"));
    }
    devices.push_back(*name);
  }
  if (devices.size() > protocol::kGpuDevicesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        devices.size(), " devices, the limit is ", protocol::kGpuDevicesMax));
  }
  config->gpu_devices = std::move(devices);
  return absl::OkStatus();
}

// A share of the host's memory would say nothing about a device's.
absl::Status SetGpuSize(absl::string_view text, uint64_t low, uint64_t* bytes) {
  if (absl::StrContains(text, '%')) {
    return absl::InvalidArgumentError("a share of unknown memory");
  }
  return SetSize(text, Machine{}, low, INT64_MAX, bytes);
}

absl::Status SetPercent(absl::string_view text, uint32_t* percent) {
  absl::ConsumeSuffix(&text, "%");
  uint32_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) {
    return absl::InvalidArgumentError("not a percentage");
  }
  if (value < 1 || value > 100) {
    return absl::InvalidArgumentError(
        absl::StrCat(value, "% is out of range, from 1% to 100%"));
  }
  *percent = value;
  return absl::OkStatus();
}

}  // namespace

std::vector<Field> GpuFields() {
  return {
      {"gpu", "devices", "gpu-devices", kList | kText, "[] (no GPU)",
       absl::StrCat("a list of at most ", protocol::kGpuDevicesMax, " of ",
                    protocol::kGpuNameSyntax),
       "GPUs in whose memory blocks are kept, too: one process kvferry-gpu "
       "each. No ordinals: a UUID means the same device in every process. The "
       "emulated device keeps its blocks in the host's memory, for tests.",
       SetDevices},
      {"gpu", "pool_size", "gpu-pool-size", kText | kInteger, "1GiB",
       kGpuSizeSyntax,
       "Memory for blocks on each device, shared by all namespaces. The engine "
       "must leave that much of the device free.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetGpuSize(text, kGpuPoolBytesMin,
                           &config->gpu_pool_size_bytes);
       }},
      {"gpu", "namespace_quota", "gpu-namespace-quota", kText | kInteger,
       "rest", absl::StrCat("rest (of the device's pool), or ", kGpuSizeSyntax),
       "Memory of a namespace on each device, taken when it is made, at most "
       "as many blocks as it has in the host's memory.",
       [](absl::string_view text, const Machine&, Config* config) {
         if (text == "rest") {
           config->gpu_namespace_quota_bytes = 0;
           return absl::OkStatus();
         }
         return SetGpuSize(text, protocol::kBlockBytesMin,
                           &config->gpu_namespace_quota_bytes);
       }},
      {"gpu", "export", "gpu-export", kText, "auto", "auto, vmm or ipc",
       "How clients get at a device's memory: vmm passes descriptors (works "
       "across PID namespaces), ipc handles of CUDA's IPC; auto: vmm where the "
       "device has it, else ipc. Without either the blocks stay on the host.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetChoice(text, kExports, &config->gpu_export);
       }},
      {"gpu", "high_watermark", "gpu-high-watermark", kText | kInteger, "90%",
       kPercentSyntax,
       "Used share of a pool above which blocks that the host has, too, are "
       "dropped, the coldest first.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetPercent(text, &config->gpu_high_percent);
       }},
      {"gpu", "low_watermark", "gpu-low-watermark", kText | kInteger, "75%",
       absl::StrCat(kPercentSyntax, ", below high_watermark"),
       "Used share down to which they are dropped.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetPercent(text, &config->gpu_low_percent);
       }},
      {"gpu", "promotion_rate", "gpu-promotion-rate", kText | kInteger, "1GiB",
       absl::StrCat("a second; 0 (off), or ", kGpuSizeSyntax),
       "How much is copied from the host's memory to each device at most, a "
       "second, because an engine that uses the device has used it.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetGpuSize(text, 0, &config->gpu_promotion_bytes_per_second);
       }},
      {"gpu", "worker", "gpu-worker", kText,
       "kvferry-gpu beside kvferryd, else in its libexec/kvferry, else in "
       "$PATH",
       "an absolute path", "The program that is started for each device.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetPath(text, &config->gpu_worker);
       }},
  };
}

absl::Status CheckGpu(const Config& config) {
  if (config.gpu_low_percent >= config.gpu_high_percent) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu.low_watermark = ", config.gpu_low_percent,
        "%: not below gpu.high_watermark = ", config.gpu_high_percent,
        "%; accepted: less than that"));
  }
  if (config.gpu_namespace_quota_bytes > config.gpu_pool_size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu.namespace_quota = ", FormatSize(config.gpu_namespace_quota_bytes),
        ": more than gpu.pool_size = ", FormatSize(config.gpu_pool_size_bytes),
        "; accepted: at most the pool"));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::config
