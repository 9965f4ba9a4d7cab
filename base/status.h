#ifndef KVFERRY_BASE_STATUS_H_
#define KVFERRY_BASE_STATUS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry {

// A failed system call as a Status: "what: strerror(error_number)". The code
// follows errno (EACCES and EPERM: kPermissionDenied; ENOENT: kNotFound;
// EEXIST, EADDRINUSE: kAlreadyExists; ENOMEM, ENOSPC, EMFILE, ENFILE:
// kResourceExhausted; EPIPE, ECONNRESET, ECONNREFUSED: kUnavailable;
// anything else: kInternal).
absl::Status ErrnoStatus(int error_number, absl::string_view what);

// The same status with "context: " put in front of its message.
absl::Status WithContext(const absl::Status& status, absl::string_view context);

}  // namespace kvferry

#define KVFERRY_CONCAT_INNER(a, b) a##b
#define KVFERRY_CONCAT(a, b) KVFERRY_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` is not OK.
#define KVFERRY_RETURN_IF_ERROR(expr)                               \
  do {                                                              \
    if (absl::Status kvferry_status = (expr); !kvferry_status.ok()) \
        [[unlikely]] {                                              \
      return kvferry_status;                                        \
    }                                                               \
  } while (false)

// Declares or assigns `lhs` from a StatusOr, or returns its status.
#define KVFERRY_ASSIGN_OR_RETURN(lhs, expr) \
  KVFERRY_ASSIGN_OR_RETURN_INNER(KVFERRY_CONCAT(statusor_, __LINE__), lhs, expr)
#define KVFERRY_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                   \
  if (!tmp.ok()) [[unlikely]] {                        \
    return std::move(tmp).status();                    \
  }                                                    \
  lhs = *std::move(tmp)

#endif  // KVFERRY_BASE_STATUS_H_
