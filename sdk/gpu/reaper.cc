#include "sdk/gpu/reaper.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "sdk/gpu/poll_interval.h"
#include "sdk/service_thread.h"

namespace kvferry::sdk {

absl::Status Reaper::Start() {
  KVFERRY_ASSIGN_OR_RETURN(
      thread_, StartServiceThread("kvferry-reaper", [this] { Run(); }));
  return absl::OkStatus();
}

void Reaper::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void Reaper::Add(const DeviceWork& work, Landed landed) {
  MutexLock lock(&mutex_);
  added_.push_back(
      {.work = work, .since = Clock::now(), .landed = std::move(landed)});
  changed_.NotifyAll();
}

void Reaper::Run() {
  for (;;) {
    {
      MutexLock lock(&mutex_);
      while (added_.empty() && work_.empty()) {
        if (stopping_) return;
        changed_.Wait(&mutex_);
      }
      for (Work& work : added_) {
        work_[work.work.stream()].push_back(std::move(work));
      }
      added_.clear();
    }
    const Clock::time_point now = Clock::now();
    if (Look(now) || work_.empty()) continue;
    std::chrono::nanoseconds interval = std::chrono::nanoseconds::max();
    for (const auto& [stream, queue] : work_) {
      interval = std::min(interval, PollInterval(now - queue.front().since));
    }
    MutexLock lock(&mutex_);
    if (added_.empty()) (void)changed_.WaitUntil(&mutex_, now + interval);
  }
}

bool Reaper::Look(Clock::time_point now) {
  bool any = false;
  for (auto at = work_.begin(); at != work_.end();) {
    std::deque<Work>& queue = at->second;
    absl::Status status;
    while (!queue.empty() && queue.front().work.IsOver(device_, &status)) {
      const Landed landed = std::move(queue.front().landed);
      queue.pop_front();
      landed(status);
      any = true;
      // What was behind it may have only just begun.
      if (!queue.empty()) queue.front().since = now;
    }
    at = queue.empty() ? work_.erase(at) : std::next(at);
  }
  return any;
}

}  // namespace kvferry::sdk
