#ifndef KVFERRY_SDK_FUTEX_H_
#define KVFERRY_SDK_FUTEX_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace kvferry::sdk {

// Sleeps while *word == expected, at most `timeout`. May wake for nothing.
// The word may lie in a read-only mapping of a file shared between processes.
void FutexWait(const std::atomic<uint32_t>* word, uint32_t expected,
               absl::Duration timeout);

// Wakes all threads of this process (and others) that wait on the word.
void FutexWakeAll(const std::atomic<uint32_t>* word);

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
