#ifndef KVFERRY_SDK_GPU_GPU_OPERATION_H_
#define KVFERRY_SDK_GPU_GPU_OPERATION_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/fork_guard.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "sdk/gpu/event_pool.h"

namespace kvferry::sdk {

// What a GpuTransfer is: how far one transfer is, for those who wait for it,
// and the bookkeeping of those who carry it out.
//
// A transfer is parts, each some device work (or a wait for something that
// brings work). It holds one part from its start, which its maker ends when no
// more will be added. When the last part has ended the finisher does what is
// due (checks, pins, commits) and calls Finish.
//
// Life cycle  1. made, one part open   2. AddPart, AddMark, SetLaunched
//             3. EndPart for each, on any thread; the last calls the finisher
//             4. Finish: done() from here on, the device is not touched again
// Threads     any number at once
class GpuOperation {
 public:
  // What is due once all parts have ended. Calls Finish, now or later.
  using Finisher = std::function<void()>;

  // `layers`: of the groups it moves, the most.
  GpuOperation(gpu::Device* device, uint32_t layers)
      : device_(device), layers_(layers) {}
  GpuOperation(const GpuOperation&) = delete;
  GpuOperation& operator=(const GpuOperation&) = delete;

  // --- see GpuTransfer ---
  bool done() const { return done_.load(std::memory_order_acquire); }
  absl::Status status() const;
  absl::Status Wait(absl::Time deadline) const;
  absl::Status OrderAfter(void* stream, uint32_t layers) const;
  // Leading layers of everything that the device has been given.
  uint32_t launched_layers() const;
  std::vector<uint32_t> skipped() const;
  uint64_t bytes() const;

  // --- for who carries it out ---

  // Before any part can end.
  void SetFinisher(Finisher finisher);

  void AddPart();
  // `status`: what went wrong with it.
  void EndPart(const absl::Status& status);

  // A point in `stream` behind the work for layers [first_layer, ...). Until
  // Finish the event is the transfer's.
  void AddMark(EventPool::Loan event, void* stream, uint32_t first_layer);
  // Keeps an event without a place in the order of layers.
  void Keep(EventPool::Loan event);
  // Of everything, the first `layers` layers are with the device.
  void SetLaunched(uint32_t layers);

  // The first failure counts.
  void Fail(const absl::Status& status);
  absl::Status failure() const;
  void Skip(uint32_t position);
  void AddBytes(uint64_t bytes);

  // The end: with the first failure, if there was one.
  void Finish();

 private:
  struct Mark {
    EventPool::Loan event;
    void* stream = nullptr;
    uint32_t first_layer = 0;
  };

  // In a forked child nobody ends it, and the mutex may be held for ever.
  const ForkGuard fork_guard_;
  gpu::Device* const device_;
  const uint32_t layers_;
  // Set once, under the mutex, after everything that it makes valid.
  std::atomic<bool> done_{false};

  mutable Mutex mutex_;
  mutable CondVar changed_;
  uint32_t parts_ ABSL_GUARDED_BY(mutex_) = 1;
  uint32_t launched_layers_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Mark> marks_ ABSL_GUARDED_BY(mutex_);
  std::vector<EventPool::Loan> kept_ ABSL_GUARDED_BY(mutex_);
  Finisher finisher_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint32_t> skipped_ ABSL_GUARDED_BY(mutex_);
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_GPU_OPERATION_H_
