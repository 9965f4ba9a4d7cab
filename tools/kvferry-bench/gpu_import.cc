#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/gpu_measures.h"
#include "tools/kvferry-bench/gpu_peer.h"
#include "tools/kvferry-bench/gpu_tensors.h"

namespace kvferry::bench {
namespace {

struct Way {
  gpu::ExportMode mode;
  const char* capability;
  const char* name;
};
constexpr Way kWays[] = {
    {gpu::ExportMode::kVmm, gpu::kCapabilityVmm, "descriptor"},
    {gpu::ExportMode::kIpc, gpu::kCapabilityIpc, "handle"},
};

}  // namespace

absl::Status MeasureGpuImport(const BenchOptions& options,
                              const GpuTarget& target, RowSink* sink) {
  const auto bytes = ByScale<uint64_t>(options, uint64_t{64} << 20,
                                       uint64_t{256} << 20, uint64_t{1} << 30);
  const RandomTile tile;
  for (const Way& way : kWays) {
    const gpu::DeviceReport& report = target.device().report();
    if (!report.Has(way.capability)) {
      std::fprintf(stderr, "gpu: no export by %s: %s\n", way.name,
                   report.ReasonAgainst(way.capability).c_str());
      continue;
    }
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> memory,
                             target.device().Allocate(bytes, way.mode));
    KVFERRY_RETURN_IF_ERROR(tile.Fill(target, memory->address(), bytes));
    KVFERRY_ASSIGN_OR_RETURN(const gpu::ExportedMemory exported,
                             memory->Export());
    GpuPeerTask task;
    task.device = target.name();
    task.imports = ByScale<uint32_t>(options, 3, 5, 9);
    task.rounds = ByScale<uint32_t>(options, 1, 5, 9);
    task.repeats = RepeatsFor(options, bytes);
    task.cpu = options.cpu_other;
    KVFERRY_ASSIGN_OR_RETURN(const GpuPeerResult result,
                             RunGpuPeer(task, exported));
    const auto size = static_cast<double>(bytes);
    Row copy = target.MakeRow("copy-through-import");
    copy.Param("export", way.name)
        .Param("bytes", bytes)
        .Rate(size / result.import_copy_ns, size / result.own_copy_ns,
              "a copy of the process's own memory")
        .Figure("pinning", PinningText(options));
    sink->Add(std::move(copy));
    Row import = target.MakeRow("import");
    import.Param("export", way.name)
        .Param("bytes", bytes)
        .Figure("p50_ns", result.import_ns)
        .Figure("first_ns", result.first_import_ns);
    sink->Add(std::move(import));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
