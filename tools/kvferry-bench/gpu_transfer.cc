#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/gpu_measures.h"
#include "tools/kvferry-bench/gpu_tensors.h"
#include "tools/kvferry-bench/interleave.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
// From here on the device's memory is the bound, below it the launch.
constexpr uint64_t kLargeBytesMin = 64 * kMiB;

std::vector<GpuShape> ShapesOf(const BenchOptions& options) {
  const std::vector<uint32_t> layer_counts =
      ByScale<std::vector<uint32_t>>(options, {32}, {32}, {32, 80});
  const std::vector<uint64_t> fragments = ByScale<std::vector<uint64_t>>(
      options, {16 * kKiB}, {4 * kKiB, 16 * kKiB, 64 * kKiB},
      {4 * kKiB, 16 * kKiB, 32 * kKiB, 64 * kKiB});
  const std::vector<uint32_t> block_counts =
      ByScale<std::vector<uint32_t>>(options, {1, 64}, {1, 16, 64, 256, 1024},
                                     {1, 4, 16, 64, 256, 1024, 2048});
  std::vector<GpuShape> shapes;
  for (const uint32_t layers : layer_counts) {
    for (const uint64_t fragment : fragments) {
      for (const uint32_t blocks : block_counts) {
        shapes.push_back({layers, fragment, blocks});
      }
    }
  }
  return shapes;
}

// One direction of one shape.
absl::Status MeasureOne(const BenchOptions& options, const GpuTarget& target,
                        const GpuShape& shape, bool gather, std::byte* engine,
                        std::byte* pages, const RandomTile& tile,
                        RowSink* sink) {
  std::byte* const source = gather ? engine : pages;
  std::byte* const written = gather ? pages : engine;
  KVFERRY_RETURN_IF_ERROR(tile.Fill(target, source, shape.bytes()));
  KVFERRY_ASSIGN_OR_RETURN(const GpuTensors tensors,
                           GpuTensors::Make(target, shape, engine, pages));
  const auto ours = [&] {
    return gather ? tensors.Gather(target) : tensors.Scatter(target);
  };
  const gpu::Copy whole{written, source, shape.bytes()};
  const auto plain = [&] {
    return target.device().CopyAsync({&whole, 1}, target.stream());
  };
  const uint32_t repeats = RepeatsFor(options, shape.bytes());
  std::vector<double> single_ns;
  KVFERRY_ASSIGN_OR_RETURN(
      const std::vector<ContestantTimes> times,
      Interleave({{gather ? "gather" : "scatter",
                   [&] { return target.Time(repeats, ours); }},
                  {"copy", [&] { return target.Time(repeats, plain); }}},
                 ByScale<uint32_t>(options, 1, 5, 9)));
  for (int i = 0; i < ByScale<int>(options, 1, 9, 21); ++i) {
    KVFERRY_ASSIGN_OR_RETURN(const double ns, target.Time(1, ours));
    single_ns.push_back(ns);
  }
  KVFERRY_RETURN_IF_ERROR(
      CheckTransfer(target, tensors, written, gather, tile));

  const auto bytes = static_cast<double>(shape.bytes());
  Row row = target.MakeRow(gather ? "gather" : "scatter");
  row.Param("layers", shape.layers)
      .Param("fragment_bytes", shape.fragment_bytes)
      .Param("blocks", shape.blocks)
      .Param("size", shape.bytes() >= kLargeBytesMin ? "large" : "small")
      .Latency(Median(single_ns), Quantile(single_ns, 0.99))
      .Rate(bytes / times[0].median_ns, bytes / times[1].median_ns,
            "one device-to-device copy")
      .Figure("bytes", shape.bytes())
      .Figure("averaged_over", repeats);
  sink->Add(std::move(row));
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureGpuTransfers(const BenchOptions& options,
                                 const GpuTarget& target, RowSink* sink) {
  const gpu::DeviceReport& report = target.device().report();
  // Two of these, and room for what others have on the device.
  const uint64_t room = std::min(report.free_bytes, report.total_bytes) / 5 * 2;
  uint64_t most = 0;
  std::vector<GpuShape> shapes;
  std::string left_out;
  for (const GpuShape& shape : ShapesOf(options)) {
    if (shape.bytes() > room) {
      absl::StrAppend(&left_out, left_out.empty() ? "" : ", ", shape.blocks,
                      " x ", shape.layers, " x ", shape.fragment_bytes);
      continue;
    }
    most = std::max(most, shape.bytes());
    shapes.push_back(shape);
  }
  if (!left_out.empty()) {
    std::fprintf(stderr,
                 "gpu: left out, two of them do not fit into the device's "
                 "memory (blocks x layers x fragment): %s\n",
                 left_out.c_str());
  }
  if (shapes.empty()) return absl::OkStatus();
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> engine,
                           target.device().AllocatePrivate(most));
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> pages,
                           target.device().AllocatePrivate(most));
  const RandomTile tile;
  for (const GpuShape& shape : shapes) {
    for (const bool gather : {true, false}) {
      KVFERRY_RETURN_IF_ERROR(MeasureOne(options, target, shape, gather,
                                         engine->address(), pages->address(),
                                         tile, sink));
    }
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
