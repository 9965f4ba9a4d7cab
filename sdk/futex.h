#ifndef KVFERRY_SDK_FUTEX_H_
#define KVFERRY_SDK_FUTEX_H_

#include <atomic>
#include <cstdint>
#include <span>

#include "absl/time/time.h"
#include "base/futex_wake.h"

namespace kvferry::sdk {

// Sleeps while *word == expected, at most `timeout`. May wake for nothing.
// The word may lie in a read-only mapping of a file shared between processes.
void FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
               absl::Duration timeout);

// A word that somebody waits for, and what it said when he looked.
struct FutexWord {
  const std::atomic<uint32_t>* word = nullptr;
  uint32_t expected = 0;

  bool Changed() const {
    return word->load(std::memory_order_acquire) != expected;
  }
};

// What futex_waitv takes at once.
inline constexpr size_t kFutexWordsMax = 128;

// The same for any of several words, the first kFutexWordsMax of them; who has
// more must look again by himself. Where the kernel has no futex_waitv (before
// 5.16, or a sandbox refuses it) it waits for the first word alone, and 5 ms at
// most.
void FutexWaitMany(std::span<const FutexWord> words, absl::Duration timeout);

// The fallback alone, for tests of it.
void FutexWaitFirst(std::span<const FutexWord> words, absl::Duration timeout);

// Tells the CPU that this is a loop that waits for another's store.
inline void SpinPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_FUTEX_H_
