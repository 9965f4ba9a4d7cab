#include "sdk/python/src/numbers.h"

#include <cmath>
#include <limits>
#include <string>

#include "sdk/python/src/errors.h"

namespace kvferry::python {
namespace {

// Below 2^63 nanoseconds, 292 years.
constexpr double kSecondsMax = 9.2e9;

[[noreturn]] void RaiseRange(const char* what, const std::string& value,
                             const char* limits) {
  Raise(KVF_INVALID_ARGUMENT,
        std::string(what) + ": " + value + ", must be " + limits);
}

}  // namespace

int64_t Integer(nanobind::handle value) {
  const nanobind::object integer = nanobind::steal(PyNumber_Index(value.ptr()));
  if (!integer.is_valid()) throw nanobind::python_error();
  const long long result = PyLong_AsLongLong(integer.ptr());
  if (result == -1 && PyErr_Occurred()) throw nanobind::python_error();
  return result;
}

uint32_t Uint32(int64_t value, const char* what) {
  if (value < 0 || value > std::numeric_limits<uint32_t>::max()) {
    RaiseRange(what, std::to_string(value), "0 to 4294967295");
  }
  return static_cast<uint32_t>(value);
}

uint64_t Uint64(int64_t value, const char* what) {
  if (value < 0) RaiseRange(what, std::to_string(value), "0 or more");
  return static_cast<uint64_t>(value);
}

int64_t TimeoutNs(std::optional<double> seconds, const char* what) {
  if (!seconds.has_value()) return -1;
  if (std::isnan(*seconds)) RaiseRange(what, "nan", "seconds or None");
  if (*seconds <= 0) return 0;
  if (*seconds >= kSecondsMax) return -1;
  return static_cast<int64_t>(*seconds * 1e9);
}

int64_t DurationNs(double seconds, const char* what) {
  if (!(seconds > 0 && seconds < kSecondsMax)) {
    RaiseRange(what, std::to_string(seconds) + " s", "above 0 s and finite");
  }
  const int64_t ns = static_cast<int64_t>(seconds * 1e9);
  return ns > 0 ? ns : 1;
}

std::optional<double> SecondsOrNone(int64_t ns) {
  if (ns < 0) return std::nullopt;
  return Seconds(ns);
}

}  // namespace kvferry::python
