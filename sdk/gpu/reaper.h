#ifndef KVFERRY_SDK_GPU_REAPER_H_
#define KVFERRY_SDK_GPU_REAPER_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <thread>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "sdk/gpu/device_work.h"

namespace kvferry::sdk {

// The thread that learns when device work is over, and does what is due then:
// gives pins back, commits what was published.
//
// It asks only after the oldest work of each stream, as a stream's events come
// in order, at intervals that grow with the work's age (PollInterval), and
// sleeps when there is none.
//
// When a device breaks, each event answers kUnavailable, and nothing of this
// process runs on the device any more: the work has ended, with that error.
//
// Life cycle  1. Start   2. Add   3. Stop: waits until all work has ended
// Threads     Add: any, the reaper's own too. Start, Stop: the owner's.
class Reaper {
 public:
  // Called on the reaper's thread, once, when the work before `event` is over:
  // OK, or what went wrong.
  using Landed = std::function<void(absl::Status)>;

  explicit Reaper(gpu::Device* device) : device_(device) {}
  ~Reaper() { Stop(); }
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // Errors  kResourceExhausted  no thread
  absl::Status Start();
  void Stop();

  // REQUIRES  the work's event stays until `landed` was called
  void Add(const DeviceWork& work, Landed landed);

 private:
  using Clock = std::chrono::steady_clock;
  struct Work {
    DeviceWork work;
    Clock::time_point since;
    Landed landed;
  };

  void Run();
  // Ends what has landed. Returns whether anything has.
  bool Look(Clock::time_point now);

  gpu::Device* const device_;
  std::thread thread_;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Work> added_ ABSL_GUARDED_BY(mutex_);

  // The thread's own: by stream, in order.
  std::map<void*, std::deque<Work>> work_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_REAPER_H_
