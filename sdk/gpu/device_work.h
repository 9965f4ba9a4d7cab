#ifndef KVFERRY_SDK_GPU_DEVICE_WORK_H_
#define KVFERRY_SDK_GPU_DEVICE_WORK_H_

#include "absl/status/status.h"
#include "gpu/device.h"

namespace kvferry::sdk {

// Work that a stream was given, and the event behind it that tells when it is
// over. Work must never be forgotten before that: it may still write.
//
// Threads  one at a time
class DeviceWork {
 public:
  DeviceWork() = default;
  // REQUIRES  `event` stays until IsOver has said so
  DeviceWork(gpu::Event* event, void* stream, bool recorded)
      : event_(event), stream_(stream), recorded_(recorded) {}

  void* stream() const { return stream_; }

  // Whether it is over; `status` is then OK, or what went wrong. An event that
  // could not be recorded is tried again here: only once that has worked, or
  // the device is broken (kUnavailable, nothing runs on it any more), can
  // anybody know.
  bool IsOver(gpu::Device* device, absl::Status* status) {
    if (!recorded_) {
      const absl::Status recorded = device->Record(event_, stream_);
      if (absl::IsUnavailable(recorded)) {
        *status = recorded;
        return true;
      }
      if (!recorded.ok()) return false;
      recorded_ = true;
    }
    const absl::StatusOr<bool> done = device->IsDone(*event_);
    if (!done.ok()) {
      *status = done.status();
      return true;
    }
    *status = absl::OkStatus();
    return *done;
  }

 private:
  gpu::Event* event_ = nullptr;
  void* stream_ = nullptr;
  bool recorded_ = false;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_DEVICE_WORK_H_
