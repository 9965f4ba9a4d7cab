#ifndef KVFERRY_DAEMON_MEMORY_POPULATE_H_
#define KVFERRY_DAEMON_MEMORY_POPULATE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"

namespace kvferry::memory {

// Gives every page of the range its memory, writable, by MADV_POPULATE_WRITE:
// whoever touches a page first pays for it (and its control group is charged),
// and that shall be the daemon, now. Goes in steps of 4 MiB, because a step
// holds the process's mapping lock against other threads' mmap.
// Blocking  as long as the kernel needs: 0.1 to 2.5 s a GiB
// Errors    kResourceExhausted  no memory
//           kCancelled          *stop became true between two steps
absl::Status Populate(std::byte* data, uint64_t bytes,
                      const std::atomic<bool>* stop = nullptr);

// The same by several threads, each a part. One suffices on two cores, where
// a second would take the engines' core away.
absl::Status PopulateInParallel(std::byte* data, uint64_t bytes,
                                unsigned threads,
                                const std::atomic<bool>* stop);

// What PopulateInParallel is called with on this machine.
unsigned PopulateThreads();

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_POPULATE_H_
