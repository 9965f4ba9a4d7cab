#ifndef KVFERRY_SDK_GPU_HOST_REGISTRAR_H_
#define KVFERRY_SDK_GPU_HOST_REGISTRAR_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "sdk/gpu/host_memory.h"

namespace kvferry::sdk {

// The thread that registers the namespace's host memory with the device: what
// is mapped when it starts, segments that come later, and after a reattach
// those of the new attachment. Old attachments are let go when their last
// transfer has ended.
//
// It looks when a transfer found something unregistered (LookSoon), and every
// second.
//
// Life cycle  1. Start   2. Stop
// Threads     any number; Start and Stop: the owner's
class HostRegistrar {
 public:
  using Current = std::function<std::shared_ptr<Attachment>()>;

  HostRegistrar(gpu::Device* device, Current current)
      : device_(device), current_(std::move(current)) {}
  ~HostRegistrar() { Stop(); }
  HostRegistrar(const HostRegistrar&) = delete;
  HostRegistrar& operator=(const HostRegistrar&) = delete;

  // `registers`: false has every host page staged.
  // Errors  kResourceExhausted  no thread
  absl::Status Start(bool registers);
  void Stop();

  // Of the attachment that is current, or was a moment ago. Never null.
  std::shared_ptr<HostMemory> memory() const;
  void LookSoon();

  // Returns once everything that is mapped now was looked at, for tests.
  void LookNow();

 private:
  void Run();

  gpu::Device* const device_;
  const Current current_;
  bool registers_ = true;
  std::thread thread_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t asked_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t looked_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<HostMemory> memory_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_HOST_REGISTRAR_H_
