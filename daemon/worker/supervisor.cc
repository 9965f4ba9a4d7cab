#include "daemon/worker/supervisor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvferry::worker {

Supervisor::Action Supervisor::Due(
    uint64_t now_ms, std::optional<uint64_t> unanswered_since_ms) {
  if (now_ms < NextDueMs(unanswered_since_ms)) return Action::kNone;
  switch (state_) {
    case State::kBackoff:
      return Action::kSpawn;
    case State::kStarting:
      GiveUp(absl::StrCat("no word of it within ", options_.hello_deadline_ms,
                          " ms"),
             now_ms);
      return Action::kKill;
    case State::kServing:
      GiveUp(absl::StrCat("a request unanswered for ",
                          now_ms - *unanswered_since_ms, " ms, the limit is ",
                          options_.answer_deadline_ms),
             now_ms);
      return Action::kKill;
    case State::kEnding:
      // Again and again: one that hangs in its driver dies when it may.
      since_ms_ = now_ms;
      return Action::kKill;
    case State::kUnusable:
      return Action::kNone;
  }
  return Action::kNone;
}

uint64_t Supervisor::NextDueMs(
    std::optional<uint64_t> unanswered_since_ms) const {
  switch (state_) {
    case State::kBackoff:
      return due_ms_;
    case State::kStarting:
      return since_ms_ + options_.hello_deadline_ms;
    case State::kServing:
      return unanswered_since_ms.has_value()
                 ? *unanswered_since_ms + options_.answer_deadline_ms
                 : UINT64_MAX;
    case State::kEnding:
      return since_ms_ + options_.answer_deadline_ms;
    case State::kUnusable:
      return UINT64_MAX;
  }
  return UINT64_MAX;
}

void Supervisor::Spawned(uint64_t now_ms) {
  ++spawns_;
  state_ = State::kStarting;
  since_ms_ = now_ms;
}

void Supervisor::SpawnFailed(absl::string_view reason, uint64_t now_ms) {
  reason_ = std::string(reason);
  Fail(now_ms);
}

void Supervisor::SaidHello(uint64_t now_ms) {
  if (state_ != State::kStarting) return;
  state_ = State::kServing;
  since_ms_ = now_ms;
  reason_.clear();
}

void Supervisor::SaidUnusable(absl::string_view reason, bool permanent,
                              uint64_t now_ms) {
  permanent_ = permanent;
  GiveUp(reason, now_ms);
}

void Supervisor::GiveUp(absl::string_view reason, uint64_t now_ms) {
  if (state_ != State::kStarting && state_ != State::kServing) return;
  if (state_ == State::kServing && now_ms - since_ms_ >= options_.stable_ms) {
    backoff_ms_ = 0;
  }
  state_ = State::kEnding;
  since_ms_ = now_ms;
  reason_ = std::string(reason);
  reason_is_provisional_ = false;
}

void Supervisor::Closed(uint64_t now_ms) {
  if (state_ != State::kStarting && state_ != State::kServing) return;
  GiveUp("it has closed its socket", now_ms);
  reason_is_provisional_ = true;
}

void Supervisor::Exited(absl::string_view how, uint64_t now_ms) {
  if (state_ == State::kBackoff || state_ == State::kUnusable) return;
  // Unless it was said before why.
  GiveUp(how, now_ms);
  if (std::exchange(reason_is_provisional_, false)) reason_ = std::string(how);
  Fail(now_ms);
}

void Supervisor::Fail(uint64_t now_ms) {
  has_news_ = true;
  if (std::exchange(permanent_, false)) {
    state_ = State::kUnusable;
    return;
  }
  backoff_ms_ = backoff_ms_ == 0
                    ? options_.backoff_min_ms
                    : std::min(2 * backoff_ms_, options_.backoff_max_ms);
  state_ = State::kBackoff;
  due_ms_ = now_ms + backoff_ms_;
}

std::optional<std::string> Supervisor::TakeNews(uint64_t now_ms) {
  if (!std::exchange(has_news_, false)) return std::nullopt;
  if (reason_ == last_news_ && now_ms - last_news_ms_ < options_.log_again_ms) {
    ++kept_back_;
    return std::nullopt;
  }
  std::string news = reason_;
  if (const uint32_t kept_back = std::exchange(kept_back_, 0); kept_back > 0) {
    absl::StrAppend(&news, " (", kept_back, " failures not logged before)");
  }
  last_news_ = reason_;
  last_news_ms_ = now_ms;
  return news;
}

}  // namespace kvferry::worker
