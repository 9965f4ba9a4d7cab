#include "sdk/gpu/stager.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "sdk/gpu/poll_interval.h"
#include "sdk/service_thread.h"

namespace kvferry::sdk {
namespace {

// Pages are staged as far from a multiple of this as they would lie in a
// block, so that the device's copies are as wide.
constexpr uint64_t kAlignment = 256;

uint64_t RoundUp(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

void Stager::Add(StagingJob job) {
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (!thread_.joinable()) {
      absl::StatusOr<std::thread> started =
          StartServiceThread("kvferry-stager", [this] { Run(); });
      status = started.status();
      if (started.ok()) thread_ = *std::move(started);
    }
    if (status.ok()) {
      jobs_.push_back(std::move(job));
      changed_.NotifyAll();
      return;
    }
  }
  job.operation->EndPart(status);
}

void Stager::Stop() {
  std::thread thread;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void Stager::Run() {
  for (;;) {
    StagingJob job;
    bool idle = false;
    {
      MutexLock lock(&mutex_);
      idle = jobs_.empty();
      if (!idle) {
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
    }
    if (!idle) {
      RunJob(&job);
      continue;
    }
    // Nothing to fill them with: what they hold is due. In their order, so
    // that the older one's transfer ends first.
    for (uint32_t i = 0; i < halves_.size(); ++i) {
      Empty(&halves_[(next_half_ + i) % halves_.size()]);
    }
    MutexLock lock(&mutex_);
    while (jobs_.empty() && !stopping_) changed_.Wait(&mutex_);
    if (jobs_.empty()) break;
  }
  buffer_.reset();
}

void Stager::RunJob(StagingJob* job) {
  absl::Status status = job->operation->failure();
  if (status.ok() && buffer_ == nullptr) {
    absl::StatusOr<std::unique_ptr<StagingBuffer>> buffer =
        StagingBuffer::Create(device_, bytes_);
    status = buffer.status();
    if (buffer.ok()) buffer_ = *std::move(buffer);
  }
  if (status.ok() && job->after != nullptr) {
    status = device_->StreamWait(stream_, *job->after);
  }
  // As many layers at a time as one half has room for.
  const uint64_t layer_bytes = LayerBytes(*job->layout, 1);
  const uint64_t room = half_bytes() / kAlignment * kAlignment;
  const auto fit = static_cast<uint32_t>(std::min<uint64_t>(
      room < kAlignment ? 0 : (room - kAlignment) / layer_bytes,
      job->layers.count));
  if (status.ok() && fit == 0) {
    status = absl::ResourceExhaustedError(
        absl::StrCat("gpu: a layer of a page is ", layer_bytes,
                     " bytes, which staging of ", bytes_, " has no room for"));
  }
  const uint32_t end = job->layers.first + job->layers.count;
  for (uint32_t layer = job->layers.first; status.ok() && layer < end;) {
    const uint32_t count = std::min(fit, end - layer);
    for (size_t next = 0; status.ok() && next < job->pages.size();) {
      status = FillHalf(*job, {layer, count}, &next);
    }
    layer += count;
  }
  if (status.ok() && job->launched_layers != 0) {
    job->operation->SetLaunched(job->launched_layers);
  }
  job->layout.reset();  // before the transfer may end: it may be the last user
  std::exchange(job->operation, nullptr)->EndPart(status);
}

absl::Status Stager::FillHalf(const StagingJob& job, gpu::LayerRange layers,
                              size_t* next) {
  KVFERRY_ASSIGN_OR_RETURN(EventPool::Loan event, events_->Lend());
  Half* const half = &halves_[next_half_];
  const uint64_t base = half_bytes() / kAlignment * kAlignment * next_half_;
  next_half_ = (next_half_ + 1) % static_cast<uint32_t>(halves_.size());
  Empty(half);

  const uint64_t bytes = LayerBytes(*job.layout, layers.count);
  const uint64_t skipped = LayerBytes(*job.layout, layers.first);
  const uint64_t pad = skipped % kAlignment;
  const uint64_t step = RoundUp(pad + bytes);
  const uint64_t room = half_bytes() / kAlignment * kAlignment;
  std::vector<gpu::PageTransfer> pages;
  std::vector<gpu::Copy> copies;  // host to device, when that is how
  half->landings.clear();
  uint64_t offset = pad;
  for (; *next < job.pages.size() && offset - pad + step <= room; ++*next) {
    const StagedPage& page = job.pages[*next];
    std::byte* const host = page.page + skipped;
    // Of a page that leaves only in part, the rest stays what it is.
    if (job.way == CopyWay::kIn || page.valid_tokens != 0) {
      if (buffer_->host() != nullptr) {
        std::memcpy(buffer_->host() + base + offset, host, bytes);
      } else {
        copies.push_back({buffer_->device() + base + offset, host, bytes});
      }
    }
    pages.push_back({.engine_block = page.engine_block,
                     .page = buffer_->device() + base + offset - skipped,
                     .slice = page.slice,
                     .valid_tokens = page.valid_tokens});
    if (job.way == CopyWay::kOut) {
      half->landings.push_back({host, base + offset, bytes});
    }
    offset += step;
  }

  absl::Status status = CopyPages(copies);
  if (status.ok()) {
    status = QueueCopies(device_, job.way, *job.layout, layers, pages, stream_);
  }
  if (status.ok() && job.way == CopyWay::kOut && buffer_->host() == nullptr) {
    copies.clear();
    for (const Half::Landing& landing : half->landings) {
      copies.push_back(
          {landing.page, buffer_->device() + landing.offset, landing.bytes});
    }
    status = CopyPages(copies);
    half->landings.clear();
  }
  // Also after a failure: something may have been queued before it.
  const absl::Status recorded = device_->Record(event.get(), stream_);
  half->busy = true;
  half->work = DeviceWork(event.get(), stream_, recorded.ok());
  half->operation = job.operation;
  half->bytes = bytes * pages.size();
  job.operation->AddPart();
  if (recorded.ok()) {
    job.operation->AddMark(std::move(event), stream_, layers.first);
  } else {
    job.operation->Keep(std::move(event));
    status.Update(recorded);
  }
  return status;
}

absl::Status Stager::CopyPages(std::span<const gpu::Copy> copies) {
  if (copies.empty()) return absl::OkStatus();
  return device_->CopyAsync(copies, stream_);
}

void Stager::Empty(Half* half) {
  if (!half->busy) return;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point since = Clock::now();
  absl::Status status;
  while (!half->work.IsOver(device_, &status)) {
    absl::SleepFor(absl::FromChrono(PollInterval(Clock::now() - since)));
  }
  Land(half, std::move(status));
}

void Stager::Land(Half* half, absl::Status status) {
  half->busy = false;
  const std::shared_ptr<GpuOperation> operation = std::move(half->operation);
  if (status.ok() && operation->failure().ok()) {
    for (const Half::Landing& landing : half->landings) {
      std::memcpy(landing.page, buffer_->host() + landing.offset,
                  landing.bytes);
    }
    operation->AddBytes(half->bytes);
  }
  operation->EndPart(status);
}

}  // namespace kvferry::sdk
