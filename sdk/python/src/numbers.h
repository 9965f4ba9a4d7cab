#ifndef KVFERRY_SDK_PYTHON_SRC_NUMBERS_H_
#define KVFERRY_SDK_PYTHON_SRC_NUMBERS_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <optional>

namespace kvferry::python {

// An item of a sequence.
// Errors  TypeError  no integer
int64_t Integer(nanobind::handle value);

// Errors  InvalidArgument  `value` is no uint32; `what` names it
uint32_t Uint32(int64_t value, const char* what);
uint64_t Uint64(int64_t value, const char* what);

// Seconds as the C interface counts them: below 0 is for ever. A timeout that
// has passed already does not wait.
// Errors  InvalidArgument  not a number
int64_t TimeoutNs(std::optional<double> seconds, const char* what);
// For fields in which 0 means a default.
// Errors  InvalidArgument  not above 0, or 2^63 nanoseconds and more
int64_t DurationNs(double seconds, const char* what);

// None when `ns` is below 0.
std::optional<double> SecondsOrNone(int64_t ns);
inline double Seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_NUMBERS_H_
