#ifndef KVFERRY_DAEMON_CONTROL_FUTEX_H_
#define KVFERRY_DAEMON_CONTROL_FUTEX_H_

#include <atomic>
#include <cstdint>

namespace kvferry::control {

// Wakes every thread, of whatever process, that waits on a word of shared
// memory. The word was stored before.
// Cost  one system call
void FutexWakeAll(const std::atomic<uint32_t>& word);

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_FUTEX_H_
