#ifndef KVFERRY_SDK_GPU_EVENT_POOL_H_
#define KVFERRY_SDK_GPU_EVENT_POOL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "gpu/device.h"

namespace kvferry::sdk {

// Events of one device, made once and used again: a transfer takes all that it
// will need before it gives the device any work, so that nothing it started is
// ever without an event that says when it is over.
//
// Outlives  what it lent
// Threads   any number
class EventPool {
 public:
  struct GiveBack {
    EventPool* pool = nullptr;
    void operator()(gpu::Event* event) const { pool->Take(event); }
  };
  using Loan = std::unique_ptr<gpu::Event, GiveBack>;

  // At most `max` events are out at a time.
  EventPool(gpu::Device* device, uint32_t max) : device_(device), max_(max) {}
  EventPool(const EventPool&) = delete;
  EventPool& operator=(const EventPool&) = delete;

  // Errors  kResourceExhausted  `max` are out; as Device::CreateEvent
  absl::StatusOr<Loan> Lend();

 private:
  void Take(gpu::Event* event);

  gpu::Device* const device_;
  const uint32_t max_;
  Mutex mutex_;
  std::vector<std::unique_ptr<gpu::Event>> idle_ ABSL_GUARDED_BY(mutex_);
  uint32_t lent_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_EVENT_POOL_H_
