#ifndef KVFERRY_TESTS_UNIT_SDK_GPU_FAULTY_DEVICE_H_
#define KVFERRY_TESTS_UNIT_SDK_GPU_FAULTY_DEVICE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "gpu/device.h"

namespace kvferry::sdk {

// Another device, of whose calls the k-th fails once: without having done
// anything, or after it has. Only calls that may fail for want of something
// count; a device that is broken is the emulated one's own affair.
//
// Threads  as the device
class FaultyDevice : public gpu::Device {
 public:
  explicit FaultyDevice(std::unique_ptr<gpu::Device> device)
      : device_(std::move(device)) {}

  // The k-th call from now on fails, from 1.
  void FailCall(uint64_t k, bool after_doing_it) {
    after_ = after_doing_it;
    left_.store(static_cast<int64_t>(k));
  }
  // Whether it was reached.
  bool failed() const { return left_.load() <= 0; }

  const gpu::DeviceReport& report() const override { return device_->report(); }
  absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> Allocate(
      uint64_t bytes, gpu::ExportMode mode) override {
    return device_->Allocate(bytes, mode);
  }
  absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> AllocatePrivate(
      uint64_t bytes) override {
    if (Fails()) return Failure();
    return device_->AllocatePrivate(bytes);
  }
  absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> Import(
      const gpu::ExportedMemory& exported) override {
    return device_->Import(exported);
  }
  absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> RegisterHost(
      std::byte* address, uint64_t bytes, bool read_only) override {
    if (refuses_registration.load() || Fails()) return Failure();
    return device_->RegisterHost(address, bytes, read_only);
  }
  absl::StatusOr<std::unique_ptr<gpu::Stream>> CreateStream() override {
    return device_->CreateStream();
  }
  absl::StatusOr<std::unique_ptr<gpu::Event>> CreateEvent() override {
    if (Fails()) return Failure();
    return device_->CreateEvent();
  }
  absl::Status Record(gpu::Event* event, void* stream) override {
    return Call([&] { return device_->Record(event, stream); });
  }
  absl::Status StreamWait(void* stream, const gpu::Event& event) override {
    return Call([&] { return device_->StreamWait(stream, event); });
  }
  absl::StatusOr<bool> IsDone(const gpu::Event& event) override {
    return device_->IsDone(event);
  }
  absl::Status Synchronize(const gpu::Event& event) override {
    return device_->Synchronize(event);
  }
  absl::StatusOr<bool> IsCapturing(void* stream) override {
    if (Fails()) return Failure();
    return device_->IsCapturing(stream);
  }
  absl::Status CopyAsync(std::span<const gpu::Copy> copies,
                         void* stream) override {
    return Call([&] { return device_->CopyAsync(copies, stream); });
  }
  absl::StatusOr<std::unique_ptr<gpu::PreparedLayout>> Prepare(
      gpu::EngineLayout layout) override {
    if (Fails()) return Failure();
    return device_->Prepare(std::move(layout));
  }
  absl::Status Gather(const gpu::PreparedLayout& layout, gpu::LayerRange layers,
                      std::span<const gpu::PageTransfer> pages,
                      void* stream) override {
    return Call([&] { return device_->Gather(layout, layers, pages, stream); });
  }
  absl::Status Scatter(const gpu::PreparedLayout& layout,
                       gpu::LayerRange layers,
                       std::span<const gpu::PageTransfer> pages,
                       void* stream) override {
    return Call(
        [&] { return device_->Scatter(layout, layers, pages, stream); });
  }

  // Host memory cannot be registered, as in a process without the right to.
  std::atomic<bool> refuses_registration{false};

 private:
  static absl::Status Failure() {
    return absl::ResourceExhaustedError("a call that the test has fail");
  }
  bool Fails() { return left_.fetch_sub(1) == 1; }
  template <typename Do>
  absl::Status Call(const Do& what) {
    if (!Fails()) return what();
    if (after_) (void)what();
    return Failure();
  }

  const std::unique_ptr<gpu::Device> device_;
  std::atomic<int64_t> left_{INT64_MAX};
  std::atomic<bool> after_{false};
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_TESTS_UNIT_SDK_GPU_FAULTY_DEVICE_H_
