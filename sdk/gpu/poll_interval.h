#ifndef KVFERRY_SDK_GPU_POLL_INTERVAL_H_
#define KVFERRY_SDK_GPU_POLL_INTERVAL_H_

#include <algorithm>
#include <chrono>

namespace kvferry::sdk {

// How long to sleep before device work that is `age` old is asked after again.
//
// A share of the age: a copy is noticed at most an eighth of its own time late,
// and however long it takes, the number of looks grows with the logarithm of
// that time, then by 1,000 a second (a look is one query of an event). To
// synchronise with the event instead would bind the thread to one stream while
// others finish, and to a device that hangs.
inline std::chrono::nanoseconds PollInterval(std::chrono::nanoseconds age) {
  constexpr std::chrono::nanoseconds kLeast = std::chrono::microseconds(20);
  constexpr std::chrono::nanoseconds kMost = std::chrono::milliseconds(1);
  return std::clamp(age / 8, kLeast, kMost);
}

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_POLL_INTERVAL_H_
