#ifndef KVFERRY_BASE_FUTEX_WAKE_H_
#define KVFERRY_BASE_FUTEX_WAKE_H_

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace kvferry {

// Wakes every thread, of whatever process, that waits on a word of shared
// memory. The word was stored before.
// Cost  one system call
inline void FutexWakeAll(const std::atomic<uint32_t>* word) {
  // Not private: who waits has the word mapped elsewhere.
  (void)::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace kvferry

#endif  // KVFERRY_BASE_FUTEX_WAKE_H_
