#ifndef KVFERRY_GPU_EMULATED_CONTROL_H_
#define KVFERRY_GPU_EMULATED_CONTROL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "gpu/emulated/context.h"

namespace kvferry::gpu {

// What tests can do to this process's emulated:N, whoever opened it. Keeps the
// device as it is, broken or not, as long as it lives.
//
// A piece of work is a call of CopyAsync, Gather or Scatter; the k-th from now
// is counted over all streams, as they are queued, from 1.
class EmulatedControl {
 public:
  explicit EmulatedControl(uint32_t number);

  // As an engine's graph capture does.
  // Errors  kInvalidArgument  no such stream
  absl::Status BeginCapture(void* stream);
  absl::Status EndCapture(void* stream);

  // That piece of work is not done, and the device is broken: nothing queued
  // behind it is done, and every call fails from then on.
  void FailWork(uint64_t k = 1);
  // That piece of work, and what is behind it on its stream, waits for Release.
  void HangWork(uint64_t k = 1);
  // Blocking  until a piece of work hangs: before it is done, after it was
  //           begun
  void WaitUntilHung();
  void Release();
  // Breaks the device at once.
  void Break(const std::string& why);

  // Bytes that this process has allocated on the device.
  uint64_t memory_bytes() const;

 private:
  absl::Status SetCapturing(void* stream, bool capturing);

  const std::shared_ptr<EmulatedContext> context_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_CONTROL_H_
