// StreamState's waits and its event descriptor.

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "sdk/stream_state.h"

namespace kvferry::sdk {
namespace {

// A wait looks again so often though no word has changed: whatever is lost,
// the end of a publisher is noticed within a second.
constexpr absl::Duration kLongStep = absl::Milliseconds(100);
// The same when no word tells of what is waited for.
constexpr absl::Duration kShortStepMin = absl::Milliseconds(1);
constexpr absl::Duration kShortStepMax = absl::Milliseconds(20);

}  // namespace

absl::Status StreamState::CheckBlocks(uint32_t blocks) const {
  if (blocks <= key_count()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "stream: ", blocks, " blocks, it has ", key_count(), " keys"));
}

void StreamState::CollectWords() {
  waiter_.Clear();
  waiter_.Add(&attachment_->lost(), lost_changes_, nullptr);
  if (commit_word_ != nullptr) {
    waiter_.Add(commit_word_, commit_changes_, nullptr);
  }
  if (done()) return;
  // Its own word, also when the head is the same publication's: it was read
  // before the index was searched for the next key.
  if (growth_.following() && block_count() < key_count()) {
    growth_.AddRecordWord(&waiter_);
  }
  if (ok_ < block_count() && head_.Follows(blocks_[ok_].ref())) {
    head_.AddWords(&waiter_);
  }
}

absl::Duration StreamState::Step() {
  if (!by_time_ && !waiter_.full()) return kLongStep;
  short_step_ =
      std::min(std::max(short_step_ * 2, kShortStepMin), kShortStepMax);
  return short_step_;
}

absl::Status StreamState::Wait(absl::Time deadline) {
  const absl::Duration left = deadline - absl::Now();
  if (left <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError(
        absl::StrCat("stream: ", ok_, " of ", key_count(),
                     " blocks are there, and the time is over"));
  }
  CollectWords();
  waiter_.Wait(attachment_->spin(), std::min(Step(), left));
  return absl::OkStatus();
}

template <typename Done>
absl::Status StreamState::WaitUntil(const Done& done, absl::Time deadline) {
  if (empty()) {
    return absl::FailedPreconditionError("stream: empty, Match fills it");
  }
  for (;;) {
    const bool changed = Look();
    absl::Status status;
    if (done(changed)) {
      Arm();
      return absl::OkStatus();
    }
    if (!status_.ok()) return status_;
    // A look that changed something may have more to see.
    if (changed) continue;
    status = Wait(deadline);
    if (!status.ok()) {
      Arm();
      return status;
    }
  }
}

absl::Status StreamState::WaitChunk(uint32_t blocks, absl::Time deadline) {
  KVFERRY_RETURN_IF_ERROR(CheckBlocks(blocks));
  return WaitUntil([&](bool) { return ok_ >= blocks; }, deadline);
}

absl::Status StreamState::WaitLayer(uint32_t blocks, uint32_t layers,
                                    absl::Time deadline) {
  KVFERRY_RETURN_IF_ERROR(CheckBlocks(blocks));
  if (!empty() && layers > layer_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("stream: ", layers, " layers, group ", options_.group,
                     " has ", layer_count()));
  }
  return WaitUntil(
      [&](bool) {
        return ok_ >= blocks || (layered_end_ >= blocks && layers_ >= layers);
      },
      deadline);
}

absl::Status StreamState::WaitCommitted(absl::Time deadline) {
  bool lost = false;
  const absl::Status status = WaitUntil(
      [&](bool) {
        if (ok_ < key_count()) return false;
        lost = lost_changes_ != 0;
        // Nobody commits them any more; the frozen index has the last word.
        if (lost) (void)ConfirmRange(firm_, ok_);
        while (firm_ < ok_ && blocks_[firm_].firm) ++firm_;
        by_time_ |= firm_ < ok_ && commit_word_ == nullptr;
        return status_.ok() && (lost || firm_ == ok_);
      },
      deadline);
  if (status.ok() && firm_ < key_count()) {
    return absl::UnavailableError(
        absl::StrCat("stream: the daemon is away: ", firm_, " of ", key_count(),
                     " blocks are committed"));
  }
  return status;
}

absl::Status StreamState::WaitChange(absl::Time deadline) {
  return WaitUntil(
      [&](bool changed) { return status_.ok() && (changed || done()); },
      deadline);
}

bool StreamState::Poll() {
  if (empty() || forked()) return false;
  if (event_fd_.valid()) {
    // Cleared first: what comes after this makes it readable again.
    uint64_t count;
    (void)!::read(event_fd_.get(), &count, sizeof(count));
  }
  const bool changed = Look();
  return Arm() || changed;
}

bool StreamState::Arm() {
  if (!event_fd_.valid() || done()) return false;
  // The words of one look are complete only when it found nothing new: what it
  // began to follow was looked at before its words were known.
  if (Look()) {
    const uint64_t one = 1;
    (void)!::write(event_fd_.get(), &one, sizeof(one));
    return true;
  }
  CollectWords();
  watcher_->Arm(watch_id_, waiter_, attachment_, Step());
  return false;
}

absl::StatusOr<int> StreamState::event_fd() {
  if (empty()) {
    return absl::FailedPreconditionError("stream: empty, Match fills it");
  }
  if (event_fd_.valid()) return event_fd_.get();
  // Readable from the start: nobody has polled yet.
  UniqueFd fd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, "stream: eventfd");
  KVFERRY_ASSIGN_OR_RETURN(watch_id_, watcher_->Add(fd.get()));
  event_fd_ = std::move(fd);
  return event_fd_.get();
}

}  // namespace kvferry::sdk
