#include "sdk/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace kvferry::sdk {
namespace {

// As long as one word alone can be waited for, the others are looked at so
// often: a chunk of prefill takes many times longer.
constexpr absl::Duration kFirstWordStep = absl::Milliseconds(5);
// A step on the way to no deadline: the kernel takes a point in time.
constexpr absl::Duration kTimeoutMax = absl::Hours(1);

#if defined(SYS_futex_waitv)
static_assert(kFutexWordsMax == FUTEX_WAITV_MAX);

// Set once, when the kernel refused. Relaxed: it guards nothing.
std::atomic<bool> waitv_refused{false};

// Returns false when the kernel does not do this.
bool TryWaitMany(std::span<const FutexWord> words, absl::Duration timeout) {
  if (waitv_refused.load(std::memory_order_relaxed)) return false;
  std::array<futex_waitv, kFutexWordsMax> waiters;
  for (size_t i = 0; i < words.size(); ++i) {
    // Not FUTEX_PRIVATE: the waker is another process.
    waiters[i] = {.val = words[i].expected,
                  .uaddr = reinterpret_cast<uintptr_t>(words[i].word),
                  .flags = FUTEX_32,
                  .__reserved = 0};
  }
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const timespec until =
      absl::ToTimespec(absl::DurationFromTimespec(now) + timeout);
  const long result = ::syscall(SYS_futex_waitv, waiters.data(), words.size(),
                                0, &until, CLOCK_MONOTONIC);
  if (result >= 0 || (errno != ENOSYS && errno != EPERM && errno != EINVAL)) {
    return true;
  }
  waitv_refused.store(true, std::memory_order_relaxed);
  return false;
}
#else
bool TryWaitMany(std::span<const FutexWord>, absl::Duration) { return false; }
#endif

}  // namespace

// Not FUTEX_PRIVATE: the waker is another process.
void FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
               absl::Duration timeout) {
  if (timeout <= absl::ZeroDuration()) return;
  const timespec relative = absl::ToTimespec(timeout);
  (void)::syscall(SYS_futex, word, FUTEX_WAIT, expected, &relative, nullptr, 0);
}

void FutexWaitFirst(std::span<const FutexWord> words, absl::Duration timeout) {
  for (const FutexWord& word : words) {
    if (word.Changed()) return;
  }
  FutexWait(words.front().word, words.front().expected,
            std::min(timeout, kFirstWordStep));
}

void FutexWaitMany(std::span<const FutexWord> words, absl::Duration timeout) {
  if (words.empty() || timeout <= absl::ZeroDuration()) return;
  words = words.first(std::min(words.size(), kFutexWordsMax));
  timeout = std::min(timeout, kTimeoutMax);
  if (words.size() > 1 && TryWaitMany(words, timeout)) return;
  if (words.size() > 1) {
    FutexWaitFirst(words, timeout);
  } else {
    FutexWait(words.front().word, words.front().expected, timeout);
  }
}

}  // namespace kvferry::sdk
