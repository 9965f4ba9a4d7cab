#include "sdk/stream_watcher.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "sdk/service_thread.h"

namespace kvferry::sdk {
namespace {

// With more words than the kernel takes at once the rest is looked at so often.
constexpr absl::Duration kOverflowStep = absl::Milliseconds(5);

void Tell(int event_fd) {
  const uint64_t one = 1;
  (void)!::write(event_fd, &one, sizeof(one));
}

}  // namespace

absl::Status StreamWatcher::StartThread() {
  absl::StatusOr<std::thread> thread =
      StartServiceThread("kvferry-watch", [this] { Run(); });
  if (!thread.ok()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("stream: watching thread: ", thread.status().message()));
  }
  thread_ = *std::move(thread);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> StreamWatcher::Add(int event_fd) {
  MutexLock lock(&mutex_);
  if (stopping_) {
    return absl::FailedPreconditionError("stream: its Client is gone");
  }
  if (!thread_.joinable()) KVFERRY_RETURN_IF_ERROR(StartThread());
  const uint64_t id = next_id_++;
  watched_[id].event_fd = event_fd;
  return id;
}

void StreamWatcher::Arm(uint64_t id, const StreamWaiter& waiter,
                        const std::shared_ptr<Attachment>& attachment,
                        absl::Duration step) {
  const absl::Time due = absl::Now() + step;
  // What the last wait kept goes after the lock: it may unmap.
  std::vector<Kept> released;
  MutexLock lock(&mutex_);
  const auto found = watched_.find(id);
  if (found == watched_.end()) return;
  Watched& watched = found->second;
  watched.words.assign(waiter.words().begin(), waiter.words().end());
  released.swap(watched.kept);
  watched.kept.push_back(attachment);
  for (size_t i = 0; i < watched.words.size(); ++i) {
    if (waiter.keep(i) != nullptr) watched.kept.push_back(*waiter.keep(i));
  }
  watched.due = due;
  watched.armed = true;
  Wake();
}

void StreamWatcher::Remove(uint64_t id) {
  std::vector<Kept> released;
  MutexLock lock(&mutex_);
  const auto found = watched_.find(id);
  if (found == watched_.end()) return;
  released.swap(found->second.kept);
  watched_.erase(found);
  // It waits for the stream's words, and keeps them, until it looks again.
  Wake();
}

void StreamWatcher::Stop() {
  std::thread thread;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    thread = std::move(thread_);
    Wake();
  }
  if (thread.joinable()) thread.join();
}

void StreamWatcher::Wake() {
  wake_.fetch_add(1, std::memory_order_release);
  FutexWakeAll(&wake_);
}

absl::Duration StreamWatcher::Collect(std::vector<FutexWord>* words,
                                      std::vector<Kept>* kept) {
  absl::Duration step = absl::InfiniteDuration();
  const absl::Time now = absl::Now();
  for (auto& [id, watched] : watched_) {
    if (!watched.armed) continue;
    const bool changed =
        std::any_of(watched.words.begin(), watched.words.end(),
                    [](const FutexWord& word) { return word.Changed(); });
    if (changed || now >= watched.due) {
      watched.armed = false;
      Tell(watched.event_fd);
      continue;
    }
    step = std::min(step, watched.due - now);
    words->insert(words->end(), watched.words.begin(), watched.words.end());
    kept->insert(kept->end(), watched.kept.begin(), watched.kept.end());
  }
  return words->size() > kFutexWordsMax ? std::min(step, kOverflowStep) : step;
}

void StreamWatcher::Run() {
  std::vector<FutexWord> words;
  std::vector<Kept> kept;
  for (;;) {
    words.clear();
    // Without the mutex: what goes with the last holder may take its time.
    kept.clear();
    absl::Duration step;
    // Before everything that is looked at: what comes later changes it.
    words.push_back({&wake_, wake_.load(std::memory_order_acquire)});
    {
      MutexLock lock(&mutex_);
      if (stopping_) return;
      step = Collect(&words, &kept);
    }
    FutexWaitMany(words, step);
  }
}

}  // namespace kvferry::sdk
