#ifndef KVFERRY_TESTS_STRESS_STREAM_FILLER_H_
#define KVFERRY_TESTS_STRESS_STREAM_FILLER_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace kvferry::test {

// Publishes prompts of its own all the time, more than there is room for, and
// checks those that are still there: whoever writes into blocks that are no
// longer its own writes into these.
// Threads  one; `stop` ends it
absl::Status RunFiller(const std::string& socket, absl::Duration pause,
                       const std::atomic<bool>& stop,
                       std::atomic<uint64_t>* verified_blocks);

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_STRESS_STREAM_FILLER_H_
