#include "sdk/gpu/event_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvferry::sdk {

absl::StatusOr<EventPool::Loan> EventPool::Lend() {
  {
    MutexLock lock(&mutex_);
    if (lent_ == max_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("gpu: ", max_, " events in use, the limit"));
    }
    ++lent_;
    if (!idle_.empty()) {
      Loan loan(idle_.back().release(), GiveBack{this});
      idle_.pop_back();
      return loan;
    }
  }
  absl::StatusOr<std::unique_ptr<gpu::Event>> event = device_->CreateEvent();
  if (event.ok()) return Loan(event->release(), GiveBack{this});
  MutexLock lock(&mutex_);
  --lent_;
  return std::move(event).status();
}

void EventPool::Take(gpu::Event* event) {
  MutexLock lock(&mutex_);
  --lent_;
  idle_.emplace_back(event);
}

}  // namespace kvferry::sdk
