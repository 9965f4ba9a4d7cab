#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "gpu/transfer_policy.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/gpu_measures.h"
#include "tools/kvferry-bench/gpu_tensors.h"
#include "tools/kvferry-bench/interleave.h"

namespace kvferry::bench {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint32_t kLayers = 4;

const char* NameOf(gpu::TransferMethod method) {
  switch (method) {
    case gpu::TransferMethod::kKernel:
      return "kernel";
    case gpu::TransferMethod::kBatchedCopies:
      return "copies";
    case gpu::TransferMethod::kStaged:
      return "staged";
  }
  return "?";
}

// Two times one shape: in device memory, and registered host memory.
struct Memories {
  std::byte* engine = nullptr;
  std::byte* pages = nullptr;
  std::byte* host = nullptr;  // null: cannot be registered
};

// One line: the device's own gather or scatter, each run a copy, and by way of
// whole pages in device memory.
absl::Status CalibrateOne(const BenchOptions& options, const GpuTarget& target,
                          const GpuShape& shape, const Memories& memories,
                          gpu::PageSide side, bool to_pages) {
  const bool host = side != gpu::PageSide::kDevice;
  std::byte* const far = host ? memories.host : memories.pages;
  KVFERRY_ASSIGN_OR_RETURN(
      const GpuTensors tensors,
      GpuTensors::Make(target, shape, memories.engine, far));
  KVFERRY_ASSIGN_OR_RETURN(
      const GpuTensors near,
      GpuTensors::Make(target, shape, memories.engine, memories.pages));
  const uint32_t repeats = RepeatsFor(options, shape.bytes() * (host ? 8 : 1));
  std::vector<Contestant> contestants = {
      {"device's",
       [&] {
         return target.Time(repeats, [&] {
           return to_pages ? tensors.Gather(target) : tensors.Scatter(target);
         });
       }},
      {"copies", [&] {
         return target.Time(repeats,
                            [&] { return tensors.CopyRuns(target, to_pages); });
       }}};
  if (host) {
    const gpu::Copy carry{to_pages ? far : memories.pages,
                          to_pages ? memories.pages : far, shape.bytes()};
    contestants.push_back(
        {"staged", [&, carry] {
           return target.Time(repeats, [&]() -> absl::Status {
             if (to_pages) KVFERRY_RETURN_IF_ERROR(near.Gather(target));
             KVFERRY_RETURN_IF_ERROR(
                 target.device().CopyAsync({&carry, 1}, target.stream()));
             return to_pages ? absl::OkStatus() : near.Scatter(target);
           });
         }});
  }
  KVFERRY_ASSIGN_OR_RETURN(
      const std::vector<ContestantTimes> times,
      Interleave(contestants, ByScale<uint32_t>(options, 1, 5, 9)));
  size_t best = 0;
  for (size_t i = 1; i < times.size(); ++i) {
    if (times[i].median_ns < times[best].median_ns) best = i;
  }
  gpu::TransferWork work;
  work.run_bytes = shape.fragment_bytes;
  work.runs = uint64_t{shape.layers} * 2 * shape.blocks;
  work.side = side;
  work.has_batched_copies =
      target.device().report().Has(gpu::kCapabilityBatchCopy);
  const auto rate = [&](size_t i) {
    return i < times.size()
               ? fmt::format("{:10.2f}", static_cast<double>(shape.bytes()) /
                                             times[i].median_ns)
               : fmt::format("{:>10}", "-");
  };
  fmt::print("{:<7} {:<8} {:>9} {:>8} {} {} {}  {:<9} {}\n",
             host ? "host" : "device", to_pages ? "gather" : "scatter",
             shape.fragment_bytes, work.runs, rate(0), rate(1), rate(2),
             times[best].name, NameOf(gpu::ChooseTransferMethod(work)));
  std::fflush(stdout);
  return absl::OkStatus();
}

}  // namespace

absl::Status CalibrateGpu(const BenchOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(const GpuTarget target, GpuTarget::Open(options));
  KVFERRY_RETURN_IF_ERROR(PinThread(options.cpu_main));
  const auto bytes =
      ByScale<uint64_t>(options, 8 * kMiB, 64 * kMiB, 128 * kMiB);
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> engine,
                           target.device().AllocatePrivate(bytes));
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> pages,
                           target.device().AllocatePrivate(bytes));
  KVFERRY_ASSIGN_OR_RETURN(const Buffer host,
                           Buffer::Shared(bytes, PageKind::kSmall));
  const absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> registered =
      target.device().RegisterHost(host.data(), bytes, /*read_only=*/false);
  Memories memories{engine->address(), pages->address(), nullptr};
  if (registered.ok()) memories.host = (*registered)->device_address();

  fmt::print("{}{}, GB/s; the policy's choice is gpu/transfer_policy.h's\n",
             target.device().report().name,
             target.emulated() ? " (emulated: times mean nothing)" : "");
  fmt::print("{:<7} {:<8} {:>9} {:>8} {:>10} {:>10} {:>10}  {:<9} {}\n",
             "pages", "way", "run", "runs", "device's", "copies", "staged",
             "fastest", "policy");
  for (const gpu::PageSide side :
       {gpu::PageSide::kDevice, gpu::PageSide::kHost}) {
    if (side == gpu::PageSide::kHost && memories.host == nullptr) {
      std::fprintf(stderr, "gpu: host memory cannot be registered: %s\n",
                   std::string(registered.status().message()).c_str());
      continue;
    }
    for (uint64_t run = 256; run <= bytes / (2 * kLayers); run *= 4) {
      // As many runs as make up the bytes, but no more than a call would have.
      constexpr uint64_t kRunsMax = 16'384;
      GpuShape shape{kLayers, run, 0};
      shape.blocks = static_cast<uint32_t>(
          std::min(bytes / shape.page_bytes(), kRunsMax / (2 * kLayers)));
      for (const bool to_pages : {true, false}) {
        KVFERRY_RETURN_IF_ERROR(
            CalibrateOne(options, target, shape, memories, side, to_pages));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
