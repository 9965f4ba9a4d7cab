#include "sdk/gpu/stream_follower.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/service_thread.h"

namespace kvferry::sdk {
namespace {

// How soon the follower notices that a transfer failed on the device, which no
// stream tells of.
constexpr int kFailureLookMs = 100;
// Blocks that are given to the device at once.
constexpr uint32_t kBlocksAPiece = 256;

}  // namespace

absl::Status StreamFollower::Start() {
  MutexLock lock(&mutex_);
  if (stopping_) return absl::FailedPreconditionError("gpu: closing");
  if (thread_.joinable()) return absl::OkStatus();
  wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return ErrnoStatus(errno, "gpu: eventfd");
  KVFERRY_ASSIGN_OR_RETURN(
      thread_, StartServiceThread("kvferry-follow", [this] { Run(); }));
  return absl::OkStatus();
}

void StreamFollower::Wake() {
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof(one));
}

void StreamFollower::Add(std::shared_ptr<FollowTask> task) {
  {
    MutexLock lock(&mutex_);
    if (!stopping_) {
      added_.push_back(std::move(task));
      Wake();
      return;
    }
  }
  task->operation->EndPart(absl::AbortedError("gpu: closed meanwhile"));
}

void StreamFollower::Stop() {
  std::thread thread;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    if (wake_.valid()) Wake();
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void StreamFollower::Run() {
  std::vector<pollfd> entries;
  for (;;) {
    bool stopping = false;
    {
      MutexLock lock(&mutex_);
      stopping = stopping_;
      for (auto& task : added_) tasks_.push_back(std::move(task));
      added_.clear();
    }
    if (stopping) break;
    entries.assign(1, {wake_.get(), POLLIN, 0});
    for (const auto& task : tasks_) {
      entries.push_back({task->event_fd, POLLIN, 0});
    }
    const int ready = ::poll(entries.data(), entries.size(),
                             tasks_.empty() ? -1 : kFailureLookMs);
    if (entries[0].revents != 0) {
      uint64_t count;
      (void)!::read(wake_.get(), &count, sizeof(count));
    }
    size_t kept = 0;
    for (size_t i = 0; i < tasks_.size(); ++i) {
      // Without news only for a failure elsewhere.
      const bool news = ready > 0 && entries[i + 1].revents != 0;
      if ((news || !tasks_[i]->operation->failure().ok()) &&
          !Step(tasks_[i].get())) {
        continue;
      }
      if (kept != i) tasks_[kept] = std::move(tasks_[i]);
      ++kept;
    }
    tasks_.resize(kept);
  }
  for (std::shared_ptr<FollowTask>& task : tasks_) {
    const std::shared_ptr<GpuOperation> operation = task->operation;
    task.reset();
    operation->EndPart(absl::AbortedError("gpu: closed meanwhile"));
  }
  tasks_.clear();
}

bool StreamFollower::Step(FollowTask* task) {
  const std::shared_ptr<GpuOperation> operation = task->operation;
  absl::Status status = operation->failure();
  if (status.ok()) {
    task->stream->Poll();
    status = LaunchNews(task);
  }
  if (status.ok() && !task->stream->done()) return true;
  // From here on the finisher's.
  operation->EndPart(status);
  return false;
}

absl::Status StreamFollower::LaunchNews(FollowTask* task) {
  const StreamState& stream = *task->stream;
  const uint32_t all = task->layout->layout().group.layer_count;
  const uint32_t ok = stream.ok_blocks();
  if (ok > task->whole) {
    // Those that have layers already, then those that have none.
    const uint32_t begun = std::clamp(task->layered_end, task->whole, ok);
    KVFERRY_RETURN_IF_ERROR(
        Launch(task, task->whole, begun, {task->layers, all - task->layers}));
    KVFERRY_RETURN_IF_ERROR(Launch(task, begun, ok, {0, all}));
    task->whole = ok;
    if (task->layered_end <= ok) {
      task->layered_end = ok;
      task->layers = 0;
    }
  }
  // Fewer layers than before are those of another chunk's beginning, or of a
  // writer that has just come: what is copied already stays what it is.
  const uint32_t end = stream.layered_end();
  const uint32_t layers = stream.ok_layers();
  const uint32_t had = task->layered_end > task->whole ? task->layers : 0;
  if (task->layers_a_piece != 0 && ok == task->whole && end > ok &&
      end >= task->layered_end && layers < all &&
      layers >= had + (end == task->layered_end ? task->layers_a_piece : 0) &&
      layers >= task->layers_a_piece) {
    const uint32_t begun = std::max(task->layered_end, task->whole);
    KVFERRY_RETURN_IF_ERROR(
        Launch(task, task->whole, begun, {had, layers - had}));
    KVFERRY_RETURN_IF_ERROR(Launch(task, begun, end, {0, layers}));
    task->layered_end = end;
    task->layers = layers;
  }
  if (task->whole == stream.key_count()) {
    task->operation->SetLaunched(all);
  } else if (task->layered_end == stream.key_count()) {
    task->operation->SetLaunched(task->layers);
  }
  return absl::OkStatus();
}

absl::Status StreamFollower::Launch(FollowTask* task, uint32_t first,
                                    uint32_t end, gpu::LayerRange range) {
  if (range.count == 0) return absl::OkStatus();
  const gpu::EngineLayout& layout = task->layout->layout();
  const uint32_t group = task->stream->options().group;
  const GpuPools& pools = task->stream->attachment()->gpu_pools();
  while (first < end) {
    const uint32_t piece_end = first + std::min(kBlocksAPiece, end - first);
    TransferEngine::Plan plan;
    plan.lists.resize(1);
    plan.lists[0].layout = task->layout;
    plan.layers = range;
    plan.after_event = task->after;
    for (uint32_t i = first; i < piece_end; ++i) {
      if (task->engine_blocks[i] == kNoEngineBlock) continue;
      const uint32_t block = task->stream->block_number(i);
      const uint32_t pool = pools.PoolOf(block);
      const BlockPlace place = task->finder->Find(
          group, block, pool == 0 ? 0 : task->stream->IncarnationOf(pool));
      if (place.home == BlockHome::kNowhere) {
        return absl::AbortedError(absl::StrCat(
            "gpu: the memory of block ", i, " of ", task->stream->key_count(),
            " is gone: its worker died"));
      }
      plan.lists[0].Add(
          place, task->engine_blocks[i], layout.slice_first,
          layout.slice_first + layout.slice_count, layout.group.page_bytes(),
          i + 1 == task->stream->key_count() ? task->last_tokens : 0);
    }
    first = piece_end;
    if (plan.lists[0].size() == 0) continue;
    KVFERRY_RETURN_IF_ERROR(engine_->Prepare(&plan, nullptr));
    engine_->Start(std::move(plan), task->operation, /*tells_layers=*/false);
  }
  return absl::OkStatus();
}

}  // namespace kvferry::sdk
