#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_GPU_TARGET_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_GPU_TARGET_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/device.h"
#include "tools/kvferry-bench/options.h"
#include "tools/kvferry-bench/row.h"

namespace kvferry::bench {

// The device that `gpu` measures, with a stream and an event to measure it by.
//
// Threads  one
class GpuTarget {
 public:
  // The one of --device; unless told the first CUDA device, or, said on
  // standard error, the emulated one where there is none.
  // Errors  as gpu::OpenDevice
  static absl::StatusOr<GpuTarget> Open(const BenchOptions& options);
  // The one of another target, by GpuTarget::name(), in another process.
  static absl::StatusOr<GpuTarget> OpenNamed(const std::string& name);

  gpu::Device& device() const { return *device_; }
  void* stream() const { return stream_->native(); }
  bool emulated() const {
    return device_->report().kind == gpu::DeviceKind::kEmulated;
  }
  // "GPU-...", "emulated:N": what every process and the daemon know it by.
  std::string name() const;

  // Nanoseconds of one `work`, which queues on stream(): `times` of them are
  // queued one after the other and waited for together.
  // Errors  as the device says
  absl::StatusOr<double> Time(uint32_t times,
                              const std::function<absl::Status()>& work) const;
  // One `work`, waited for.
  absl::Status Run(const std::function<absl::Status()>& work) const;

  // A row of this benchmark: which device, and whether it is a real one.
  Row MakeRow(const std::string& what) const;

 private:
  explicit GpuTarget(std::unique_ptr<gpu::Device> device)
      : device_(std::move(device)) {}
  absl::Status Prepare();

  std::unique_ptr<gpu::Device> device_;
  std::unique_ptr<gpu::Stream> stream_;
  std::unique_ptr<gpu::Event> event_;
};

// How often to repeat what moves `bytes` bytes, so that a measurement is long
// beside the clock, the queueing and the wake-up at its end.
uint32_t RepeatsFor(const BenchOptions& options, uint64_t bytes);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_GPU_TARGET_H_
