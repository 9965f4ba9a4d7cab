#include "gpu/emulated/stream_queue.h"

#include <utility>

namespace kvferry::gpu {

StreamQueue::StreamQueue(uint32_t device)
    : device_(device),
      thread_(std::make_unique<std::thread>([this] { Run(); })) {}

StreamQueue::~StreamQueue() {
  if (fork_guard_.forked()) {
    // Nobody to join.
    (void)thread_.release();
    return;
  }
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_->join();
}

void StreamQueue::Push(Step step) {
  MutexLock lock(&mutex_);
  steps_.push_back(std::move(step));
  changed_.NotifyAll();
}

void StreamQueue::Run() {
  while (true) {
    Step step;
    {
      MutexLock lock(&mutex_);
      while (steps_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (steps_.empty()) return;
      step = std::move(steps_.front());
      steps_.pop_front();
    }
    step();
  }
}

}  // namespace kvferry::gpu
