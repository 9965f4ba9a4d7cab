#ifndef KVFERRY_SDK_PYTHON_SRC_WAIT_STEPS_H_
#define KVFERRY_SDK_PYTHON_SRC_WAIT_STEPS_H_

#include <Python.h>
#include <nanobind/nanobind.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

#include "kvferry/kvferry.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/numbers.h"

namespace kvferry::python {

// How long a wait may keep the interpreter from its signals (Ctrl-C).
inline constexpr int64_t kWaitStepNs = 100'000'000;

inline int64_t SteadyNowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Calls `wait(timeout_ns)`, without the GIL, until it answers anything but
// KVF_DEADLINE_EXCEEDED or `timeout` has passed; its last answer. For waits
// that go on where they were: what changes between two steps is seen.
// Errors  what a signal's handler raised
template <typename Wait>
kvf_status WaitInSteps(std::optional<double> timeout, const Wait& wait) {
  const int64_t timeout_ns = TimeoutNs(timeout, "timeout");
  const int64_t start_ns = SteadyNowNs();
  for (;;) {
    int64_t step_ns = kWaitStepNs;
    bool last = false;
    if (timeout_ns >= 0) {
      const int64_t left_ns =
          std::max<int64_t>(timeout_ns - (SteadyNowNs() - start_ns), 0);
      last = left_ns <= kWaitStepNs;
      step_ns = std::min(left_ns, kWaitStepNs);
    }
    kvf_status status;
    {
      const GilRelease release;
      status = wait(step_ns);
    }
    if (status != KVF_DEADLINE_EXCEEDED || last) return status;
    if (PyErr_CheckSignals() != 0) throw nanobind::python_error();
  }
}

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_WAIT_STEPS_H_
