#include "sdk/gpu/gpu_operation.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "base/status.h"
#include "sdk/client_impl.h"

namespace kvferry::sdk {

// --- for who waits -------------------------------------------------------

absl::Status GpuOperation::status() const {
  if (fork_guard_.forked()) return ForkedError();
  if (!done()) return absl::UnavailableError("gpu: the transfer is under way");
  return failure();
}

absl::Status GpuOperation::failure() const {
  MutexLock lock(&mutex_);
  return failure_;
}

absl::Status GpuOperation::Wait(absl::Time deadline) const {
  if (fork_guard_.forked()) return ForkedError();
  MutexLock lock(&mutex_);
  while (!done()) {
    if (deadline == absl::InfiniteFuture()) {
      changed_.Wait(&mutex_);
      continue;
    }
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError("gpu: the transfer is under way");
    }
    // By the steady clock: Abseil's time may be set.
    (void)changed_.WaitUntil(
        &mutex_, std::chrono::steady_clock::now() +
                     absl::ToChronoNanoseconds(std::min(left, absl::Hours(1))));
  }
  return failure_;
}

absl::Status GpuOperation::OrderAfter(void* stream, uint32_t layers) const {
  if (fork_guard_.forked()) return ForkedError();
  if (layers == 0 || layers > layers_) layers = layers_;
  MutexLock lock(&mutex_);
  while (!done() && launched_layers_ < layers) changed_.Wait(&mutex_);
  if (done()) return failure_;
  KVFERRY_ASSIGN_OR_RETURN(const bool capturing, device_->IsCapturing(stream));
  if (capturing) {
    return absl::FailedPreconditionError(
        "gpu: the stream is being captured for a graph");
  }
  // Of each stream the last point that matters stands for those before it.
  for (size_t i = 0; i < marks_.size(); ++i) {
    if (marks_[i].first_layer >= layers) continue;
    const bool later = std::any_of(
        marks_.begin() + static_cast<std::ptrdiff_t>(i) + 1, marks_.end(),
        [&](const Mark& mark) {
          return mark.stream == marks_[i].stream && mark.first_layer < layers;
        });
    if (later) continue;
    KVFERRY_RETURN_IF_ERROR(device_->StreamWait(stream, *marks_[i].event));
  }
  return absl::OkStatus();
}

uint32_t GpuOperation::launched_layers() const {
  if (fork_guard_.forked()) return 0;
  MutexLock lock(&mutex_);
  return done() ? layers_ : launched_layers_;
}

std::vector<uint32_t> GpuOperation::skipped() const {
  if (fork_guard_.forked()) return {};
  MutexLock lock(&mutex_);
  return skipped_;
}

uint64_t GpuOperation::bytes() const {
  if (fork_guard_.forked()) return 0;
  MutexLock lock(&mutex_);
  return bytes_;
}

// --- for who carries it out ----------------------------------------------

void GpuOperation::SetFinisher(Finisher finisher) {
  MutexLock lock(&mutex_);
  finisher_ = std::move(finisher);
}

void GpuOperation::AddPart() {
  MutexLock lock(&mutex_);
  ++parts_;
}

void GpuOperation::EndPart(const absl::Status& status) {
  Finisher finisher;
  {
    MutexLock lock(&mutex_);
    if (failure_.ok()) failure_ = status;
    if (--parts_ > 0) return;
    finisher = std::exchange(finisher_, nullptr);
  }
  finisher();
}

void GpuOperation::AddMark(EventPool::Loan event, void* stream,
                           uint32_t first_layer) {
  MutexLock lock(&mutex_);
  marks_.push_back({std::move(event), stream, first_layer});
}

void GpuOperation::Keep(EventPool::Loan event) {
  MutexLock lock(&mutex_);
  kept_.push_back(std::move(event));
}

void GpuOperation::SetLaunched(uint32_t layers) {
  MutexLock lock(&mutex_);
  launched_layers_ = std::max(launched_layers_, std::min(layers, layers_));
  changed_.NotifyAll();
}

void GpuOperation::Fail(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = status;
}

void GpuOperation::Skip(uint32_t position) {
  MutexLock lock(&mutex_);
  skipped_.push_back(position);
}

void GpuOperation::AddBytes(uint64_t bytes) {
  MutexLock lock(&mutex_);
  bytes_ += bytes;
}

void GpuOperation::Finish() {
  MutexLock lock(&mutex_);
  // Back into the pool: nobody waits for them any more.
  marks_.clear();
  kept_.clear();
  std::sort(skipped_.begin(), skipped_.end());
  skipped_.erase(std::unique(skipped_.begin(), skipped_.end()), skipped_.end());
  done_.store(true, std::memory_order_release);
  changed_.NotifyAll();
}

}  // namespace kvferry::sdk
