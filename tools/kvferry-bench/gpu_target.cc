#include "tools/kvferry-bench/gpu_target.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

// What the emulated device has: the smallest row of 64 MiB needs two times
// that, and a little.
constexpr uint64_t kEmulatedBytes = uint64_t{512} << 20;

gpu::EmulatedOptions Emulated() {
  gpu::EmulatedOptions options;
  options.total_bytes = kEmulatedBytes;
  // For exports by handle; files there go with their owner.
  options.directory = "/dev/shm";
  return options;
}

}  // namespace

absl::StatusOr<GpuTarget> GpuTarget::Open(const BenchOptions& options) {
  if (!options.gpu_device.empty()) return OpenNamed(options.gpu_device);
  absl::StatusOr<std::unique_ptr<gpu::Device>> cuda = gpu::OpenCuda(0);
  if (!cuda.ok()) {
    std::fprintf(stderr,
                 "gpu: no CUDA device (%s): the emulated device, whose times "
                 "mean nothing\n",
                 std::string(cuda.status().message()).c_str());
    return OpenNamed("emulated:0");
  }
  GpuTarget target(*std::move(cuda));
  KVFERRY_RETURN_IF_ERROR(target.Prepare());
  return target;
}

absl::StatusOr<GpuTarget> GpuTarget::OpenNamed(const std::string& name) {
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<gpu::Device> device,
                           gpu::OpenDevice(name, Emulated()));
  GpuTarget target(std::move(device));
  KVFERRY_RETURN_IF_ERROR(target.Prepare());
  return target;
}

absl::Status GpuTarget::Prepare() {
  KVFERRY_ASSIGN_OR_RETURN(stream_, device_->CreateStream());
  KVFERRY_ASSIGN_OR_RETURN(event_, device_->CreateEvent());
  return absl::OkStatus();
}

std::string GpuTarget::name() const {
  const gpu::DeviceReport& report = device_->report();
  return gpu::UuidToString(report.kind, report.uuid);
}

absl::StatusOr<double> GpuTarget::Time(
    uint32_t times, const std::function<absl::Status()>& work) const {
  const uint64_t start_ns = NowNs();
  for (uint32_t i = 0; i < times; ++i) KVFERRY_RETURN_IF_ERROR(work());
  KVFERRY_RETURN_IF_ERROR(device_->Record(event_.get(), stream()));
  KVFERRY_RETURN_IF_ERROR(device_->Synchronize(*event_));
  return static_cast<double>(NowNs() - start_ns) / times;
}

absl::Status GpuTarget::Run(const std::function<absl::Status()>& work) const {
  return Time(1, work).status();
}

Row GpuTarget::MakeRow(const std::string& what) const {
  Row row("gpu");
  row.Param("what", what)
      .Param("emulated", emulated())
      .Figure("device", device_->report().name)
      .Figure("device_id", name());
  return row;
}

uint32_t RepeatsFor(const BenchOptions& options, uint64_t bytes) {
  const auto wanted =
      ByScale<uint64_t>(options, 0, uint64_t{256} << 20, uint64_t{1} << 30);
  return static_cast<uint32_t>(
      std::clamp<uint64_t>(wanted / std::max<uint64_t>(bytes, 1), 1,
                           ByScale<uint64_t>(options, 1, 50, 200)));
}

}  // namespace kvferry::bench
