#ifndef KVFERRY_GPU_CUDA_CUDA_DEVICE_H_
#define KVFERRY_GPU_CUDA_CUDA_DEVICE_H_

#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/cuda/strided_copier.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// Device on CUDA's runtime. Every call makes the device current for its length
// (CudaScope).
class CudaDevice : public Device {
 public:
  // Errors  as OpenCuda
  static absl::StatusOr<std::unique_ptr<Device>> Open(const CudaDriver& driver,
                                                      int ordinal);

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
  CudaDevice(std::shared_ptr<CudaContext> context,
             std::unique_ptr<StridedCopier> copier, DeviceReport report);

  absl::Status Lacks(const char* capability) const;
  // A copy to the device that is done when it returns.
  absl::Status Upload(std::byte* target, std::span<const uint64_t> words);
  absl::Status CopyBatched(std::span<const Copy> copies, void* stream,
                           size_t* done);

  const std::shared_ptr<CudaContext> context_;
  const std::unique_ptr<StridedCopier> copier_;
  const DeviceReport report_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_DEVICE_H_
