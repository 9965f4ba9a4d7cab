#ifndef KVFERRY_GPU_EMULATED_EMULATED_DEVICE_H_
#define KVFERRY_GPU_EMULATED_EMULATED_DEVICE_H_

#include <functional>
#include <memory>

#include "base/fork_guard.h"
#include "gpu/device.h"
#include "gpu/emulated/context.h"

namespace kvferry::gpu {

// A device whose memory is the host's and whose streams are threads. What a GPU
// would answer with a broken context, an address that it cannot reach, this one
// refuses when it is asked, so that such mistakes are found without a GPU.
//
// Unlike CUDA's, its default stream does not wait for the others, and a stream
// that is being captured takes no work at all.
class EmulatedDevice : public Device {
 public:
  EmulatedDevice(EmulatedOptions options,
                 std::shared_ptr<EmulatedContext> context);

  const DeviceReport& report() const override { return report_; }

  absl::StatusOr<std::unique_ptr<DeviceMemory>> Allocate(
      uint64_t bytes, ExportMode mode) override;
  absl::StatusOr<std::unique_ptr<DeviceMemory>> AllocatePrivate(
      uint64_t bytes) override;
  absl::StatusOr<std::unique_ptr<DeviceMemory>> Import(
      const ExportedMemory& exported) override;
  absl::StatusOr<std::unique_ptr<HostRegistration>> RegisterHost(
      std::byte* address, uint64_t bytes, bool read_only) override;

  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override;
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override;
  absl::Status Record(Event* event, void* stream) override;
  absl::Status StreamWait(void* stream, const Event& event) override;
  absl::StatusOr<bool> IsDone(const Event& event) override;
  absl::Status Synchronize(const Event& event) override;
  absl::StatusOr<bool> IsCapturing(void* stream) override;

  absl::Status CopyAsync(std::span<const Copy> copies, void* stream) override;
  absl::StatusOr<std::unique_ptr<PreparedLayout>> Prepare(
      EngineLayout layout) override;
  absl::Status Gather(const PreparedLayout& layout, LayerRange layers,
                      std::span<const PageTransfer> pages,
                      void* stream) override;
  absl::Status Scatter(const PreparedLayout& layout, LayerRange layers,
                       std::span<const PageTransfer> pages,
                       void* stream) override;

 private:
  // Errors  kUnavailable         the device is broken
  //         kFailedPrecondition  in a forked child
  absl::Status Ready() const;
  // What the stream's work goes to; null is the default stream.
  // Errors  as Ready; kInvalidArgument, kFailedPrecondition
  absl::StatusOr<std::shared_ptr<StreamQueue>> QueueOf(void* stream) const;
  absl::StatusOr<std::shared_ptr<StreamQueue>> QueueForWork(void* stream) const;
  // Queues one piece of work, under the delay and what tests have planned.
  void PushWork(StreamQueue* queue, std::function<void()> work);
  // Errors  kUnimplemented  the device has no such export
  absl::StatusOr<ExportMode> ModeFor(ExportMode mode) const;
  absl::Status CheckReachable(const std::byte* address, uint64_t bytes,
                              bool write) const;
  absl::Status Transfer(const PreparedLayout& layout, LayerRange layers,
                        std::span<const PageTransfer> pages, void* stream,
                        bool to_pages);

  const EmulatedOptions options_;
  const std::shared_ptr<EmulatedContext> context_;
  const ForkGuard fork_guard_;
  DeviceReport report_;  // constant after construction
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_EMULATED_DEVICE_H_
