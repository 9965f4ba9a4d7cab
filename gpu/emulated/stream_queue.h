#ifndef KVFERRY_GPU_EMULATED_STREAM_QUEUE_H_
#define KVFERRY_GPU_EMULATED_STREAM_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "base/fork_guard.h"
#include "base/mutex.h"

namespace kvferry::gpu {

// One stream of the emulated device: a thread that does, in order, what it is
// given. Steps may block on what other streams were given earlier (an event's
// point), which cannot become a circle: a point exists only once its step is in
// a queue.
//
// Life cycle  1. made: the thread runs   2. Push   3. destroyed: waits until it
//             is empty. A forked child has no thread and leaks the object.
// Threads     any number at once
class StreamQueue {
 public:
  using Step = std::function<void()>;

  // The number of the device that the stream is of.
  explicit StreamQueue(uint32_t device);
  ~StreamQueue();
  StreamQueue(const StreamQueue&) = delete;
  StreamQueue& operator=(const StreamQueue&) = delete;

  uint32_t device() const { return device_; }
  void Push(Step step) ABSL_LOCKS_EXCLUDED(mutex_);

  // Stands for cudaStreamBeginCapture and its end.
  void SetCapturing(bool capturing) { capturing_ = capturing; }
  bool capturing() const { return capturing_; }

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  const uint32_t device_;
  const ForkGuard fork_guard_;
  std::atomic<bool> capturing_ = false;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Step> steps_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<std::thread> thread_;  // the last member: it uses the others
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_STREAM_QUEUE_H_
