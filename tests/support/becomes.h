#ifndef KVFERRY_TESTS_SUPPORT_BECOMES_H_
#define KVFERRY_TESTS_SUPPORT_BECOMES_H_

#include <poll.h>

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kvferry::test {

// Polls a condition that another process brings about. False when `timeout`
// passed first.
inline bool Becomes(const std::function<bool()>& condition,
                    absl::Duration timeout = absl::Seconds(10)) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_BECOMES_H_
