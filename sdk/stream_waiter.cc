#include "sdk/stream_waiter.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace kvferry::sdk {
namespace {

// Looks at the words between two looks at the clock.
constexpr int kLooksPerClock = 16;

bool AnyChanged(std::span<const FutexWord> words) {
  for (const FutexWord& word : words) {
    if (word.Changed()) return true;
  }
  return false;
}

}  // namespace

void StreamWaiter::Add(const std::atomic<uint32_t>* word, uint32_t expected,
                       const std::shared_ptr<const ProgressFile>* keep) {
  if (full()) return;
  words_[count_] = {word, expected};
  keep_[count_] = keep;
  ++count_;
}

void StreamWaiter::Wait(absl::Duration spin, absl::Duration step) const {
  const std::span<const FutexWord> there = words();
  spin = std::min(spin, step);
  if (spin > absl::ZeroDuration()) {
    const absl::Time until = absl::Now() + spin;
    do {
      for (int i = 0; i < kLooksPerClock; ++i) {
        if (AnyChanged(there)) return;
        SpinPause();
      }
    } while (absl::Now() < until);
  }
  FutexWaitMany(there, step - spin);
}

}  // namespace kvferry::sdk
