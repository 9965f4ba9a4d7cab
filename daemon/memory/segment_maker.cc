#include "daemon/memory/segment_maker.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/status.h"

namespace kvferry::memory {

absl::StatusOr<std::unique_ptr<SegmentMakerProxy>> SegmentMakerProxy::Make() {
  std::unique_ptr<SegmentMakerProxy> proxy(new SegmentMakerProxy);
  proxy->results_fd_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!proxy->results_fd_.valid()) return ErrnoStatus(errno, "eventfd");
  return proxy;
}

bool SegmentMakerProxy::TrySubmit(const SegmentJob& job) {
  MutexLock lock(&mutex_);
  if (jobs_.size() >= kQueueMax) {
    ++full_count_;
    return false;
  }
  jobs_.push_back(job);
  changed_.NotifyAll();
  return true;
}

std::vector<SegmentResult> SegmentMakerProxy::TakeResults() {
  uint64_t count;
  // Before the results, so that one posted in between is announced again.
  while (::read(results_fd_.get(), &count, sizeof(count)) < 0 &&
         errno == EINTR) {
  }
  MutexLock lock(&mutex_);
  return std::exchange(results_, {});
}

uint64_t SegmentMakerProxy::full_count() const {
  MutexLock lock(&mutex_);
  return full_count_;
}

bool SegmentMakerProxy::WaitForJob(SegmentJob* job) {
  MutexLock lock(&mutex_);
  while (jobs_.empty() && !stopping_.load(std::memory_order_relaxed)) {
    changed_.Wait(&mutex_);
  }
  if (stopping_.load(std::memory_order_relaxed)) return false;
  *job = jobs_.front();
  jobs_.pop_front();
  return true;
}

bool SegmentMakerProxy::TakeJob(SegmentJob* job) {
  MutexLock lock(&mutex_);
  if (jobs_.empty()) return false;
  *job = jobs_.front();
  jobs_.pop_front();
  return true;
}

void SegmentMakerProxy::Post(SegmentResult result) {
  {
    MutexLock lock(&mutex_);
    results_.push_back(std::move(result));
  }
  const uint64_t one = 1;
  while (::write(results_fd_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

void SegmentMakerProxy::Stop() {
  MutexLock lock(&mutex_);
  stopping_.store(true, std::memory_order_relaxed);
  changed_.NotifyAll();
}

size_t SegmentMaker::DoWork() {
  SegmentJob job;
  if (!proxy_.TakeJob(&job)) return 0;
  Make(job);
  return 1;
}

void SegmentMaker::Make(const SegmentJob& job) {
  proxy_.Post({job, Segment::Make(job.plan, options_, &proxy_.stopping_)});
}

void SegmentMaker::Start() {
  thread_ = std::thread([this] {
    SegmentJob job;
    while (proxy_.WaitForJob(&job)) Make(job);
  });
}

void SegmentMaker::Stop() {
  if (!thread_.joinable()) return;
  proxy_.Stop();
  thread_.join();
}

}  // namespace kvferry::memory
