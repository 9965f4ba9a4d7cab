#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mapping.h"
#include "base/status.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/gpu_measures.h"
#include "tools/kvferry-bench/gpu_tensors.h"
#include "tools/kvferry-bench/interleave.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kLargeBytesMin = 64 * kMiB;

struct Sides {
  std::byte* device = nullptr;  // in device memory
  std::byte* host = nullptr;    // registered, as the device sees it
};

// `ours` beside one copy of all bytes in the same direction.
absl::Status Race(const BenchOptions& options, const GpuTarget& target,
                  const GpuShape& shape, const Sides& sides, bool to_host,
                  const std::string& what,
                  const std::function<absl::Status()>& ours, RowSink* sink) {
  const gpu::Copy whole{to_host ? sides.host : sides.device,
                        to_host ? sides.device : sides.host, shape.bytes()};
  const auto plain = [&] {
    return target.device().CopyAsync({&whole, 1}, target.stream());
  };
  // The link is slow beside the device's memory: fewer repetitions do.
  const uint32_t repeats = RepeatsFor(options, shape.bytes() * 8);
  KVFERRY_ASSIGN_OR_RETURN(
      const std::vector<ContestantTimes> times,
      Interleave({{what, [&] { return target.Time(repeats, ours); }},
                  {"copy", [&] { return target.Time(repeats, plain); }}},
                 ByScale<uint32_t>(options, 1, 5, 9)));
  const auto bytes = static_cast<double>(shape.bytes());
  Row row = target.MakeRow(what);
  row.Param("direction", to_host ? "to-host" : "to-device")
      .Param("layers", shape.layers)
      .Param("fragment_bytes", shape.fragment_bytes)
      .Param("blocks", shape.blocks)
      .Param("size", shape.bytes() >= kLargeBytesMin ? "large" : "small")
      .Rate(bytes / times[0].median_ns, bytes / times[1].median_ns,
            "one copy from or to registered memory")
      .Figure("bytes", shape.bytes())
      .Figure("averaged_over", repeats);
  sink->Add(std::move(row));
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureGpuHost(const BenchOptions& options,
                            const GpuTarget& target, RowSink* sink) {
  const auto fragments = ByScale<std::vector<uint64_t>>(
      options, {16 * kKiB}, {4 * kKiB, 64 * kKiB},
      {4 * kKiB, 16 * kKiB, 32 * kKiB, 64 * kKiB});
  const auto sizes = ByScale<std::vector<uint64_t>>(
      options, {64 * kMiB}, {4 * kMiB, 64 * kMiB},
      {4 * kMiB, 64 * kMiB, 512 * kMiB});
  const uint64_t most = sizes.back();
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> engine,
                           target.device().AllocatePrivate(most));
  // As a segment of the daemon's is: shared memory, registered once.
  KVFERRY_ASSIGN_OR_RETURN(const Buffer host,
                           Buffer::Shared(most, PageKind::kSmall));
  absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> registered =
      target.device().RegisterHost(host.data(), most, /*read_only=*/false);
  if (!registered.ok()) {
    std::fprintf(stderr, "gpu: host memory cannot be registered: %s\n",
                 std::string(registered.status().message()).c_str());
    return absl::OkStatus();
  }
  const Sides sides{engine->address(), (*registered)->device_address()};
  const RandomTile tile;
  for (const uint64_t fragment : fragments) {
    for (const uint64_t bytes : sizes) {
      GpuShape shape{32, fragment, 0};
      shape.blocks = static_cast<uint32_t>(bytes / shape.page_bytes());
      if (shape.blocks == 0) continue;
      KVFERRY_ASSIGN_OR_RETURN(
          const GpuTensors tensors,
          GpuTensors::Make(target, shape, sides.device, sides.host));
      KVFERRY_RETURN_IF_ERROR(tile.Fill(target, sides.device, shape.bytes()));
      KVFERRY_RETURN_IF_ERROR(Race(
          options, target, shape, sides, /*to_host=*/true, "gather-host",
          [&] { return tensors.Gather(target); }, sink));
      // The plain copy came last, or before: gather once more, then look.
      KVFERRY_RETURN_IF_ERROR(
          target.Run([&] { return tensors.Gather(target); }));
      KVFERRY_RETURN_IF_ERROR(
          CheckTransfer(target, tensors, sides.host, true, tile));
      KVFERRY_RETURN_IF_ERROR(Race(
          options, target, shape, sides, /*to_host=*/false, "scatter-host",
          [&] { return tensors.Scatter(target); }, sink));
    }
  }
  // Whole blocks, in an order of their own, as write-behind and promotion have
  // them.
  for (const bool to_host : {true, false}) {
    GpuShape shape{32, 32 * kKiB, 0};
    shape.blocks = static_cast<uint32_t>(most / shape.page_bytes());
    std::vector<gpu::Copy> copies;
    for (uint32_t i = 0; i < shape.blocks; ++i) {
      std::byte* const device = sides.device + i * shape.page_bytes();
      std::byte* const page =
          sides.host + (shape.blocks - 1 - i) * shape.page_bytes();
      copies.push_back({to_host ? page : device, to_host ? device : page,
                        shape.page_bytes()});
    }
    KVFERRY_RETURN_IF_ERROR(Race(
        options, target, shape, sides, to_host, "blocks-host",
        [&] { return target.device().CopyAsync(copies, target.stream()); },
        sink));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
