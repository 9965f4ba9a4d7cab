#ifndef KVFERRY_SDK_C_API_ERROR_H_
#define KVFERRY_SDK_C_API_ERROR_H_

#include <utility>

#include "absl/status/status.h"
#include "kvferry/kvferry.h"

namespace kvferry::c_api {

// Keeps the status's message for kvf_error_message() and returns its code.
// REQUIRES  !status.ok()
kvf_status Fail(const absl::Status& status) noexcept;

// The same for the exception that is being handled: std::bad_alloc is
// KVF_RESOURCE_EXHAUSTED, everything else KVF_INTERNAL.
kvf_status FailOfException() noexcept;

// Runs `body`, which returns absl::Status, as the whole of one call: its status
// is the call's answer, and no exception leaves it.
template <typename Body>
kvf_status Answer(Body&& body) noexcept {
  try {
    const absl::Status status = std::forward<Body>(body)();
    if (status.ok()) [[likely]]
      return KVF_OK;
    return Fail(status);
  } catch (...) {
    return FailOfException();
  }
}

// The same for a call that has no status to answer with: `otherwise` stands for
// whatever went wrong.
template <typename Value, typename Body>
Value AnswerOr(Value otherwise, Body&& body) noexcept {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    return otherwise;
  }
}

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_ERROR_H_
