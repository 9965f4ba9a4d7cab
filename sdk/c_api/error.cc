#include "sdk/c_api/error.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "absl/strings/string_view.h"

namespace kvferry::c_api {
namespace {

// Longer messages are cut.
constexpr size_t kMessageBytes = 2048;

// A thread's message. On the heap, since a library that is loaded late (a
// Python extension) shares some hundred bytes of static thread-local memory
// with all others, and hazard.h has it want that kind.
struct Message {
  ~Message() {
    delete[] buffer;
    buffer = nullptr;
    text = "";
  }
  char* buffer = nullptr;
  const char* text = "";
};
thread_local Message message;

void Keep(absl::string_view text) {
  if (message.buffer == nullptr) {
    message.buffer = new (std::nothrow) char[kMessageBytes];
  }
  if (message.buffer == nullptr) {
    message.text = "out of memory, also for this message";
    return;
  }
  size_t size = std::min(text.size(), kMessageBytes - 1);
  // Not through the middle of a character (UTF-8: 10xxxxxx continues one).
  while (size > 0 && size < text.size() &&
         (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) {
    --size;
  }
  std::memcpy(message.buffer, text.data(), size);
  message.buffer[size] = '\0';
  message.text = message.buffer;
}

constexpr const char* kNames[] = {"OK",
                                  "CANCELLED",
                                  "UNKNOWN",
                                  "INVALID_ARGUMENT",
                                  "DEADLINE_EXCEEDED",
                                  "NOT_FOUND",
                                  "ALREADY_EXISTS",
                                  "PERMISSION_DENIED",
                                  "RESOURCE_EXHAUSTED",
                                  "FAILED_PRECONDITION",
                                  "ABORTED",
                                  "OUT_OF_RANGE",
                                  "UNIMPLEMENTED",
                                  "INTERNAL",
                                  "UNAVAILABLE",
                                  "DATA_LOSS",
                                  "UNAUTHENTICATED"};
constexpr int kNameCount = sizeof(kNames) / sizeof(kNames[0]);
static_assert(kNameCount == KVF_UNAUTHENTICATED + 1);
static_assert(KVF_UNAUTHENTICATED ==
              static_cast<int>(absl::StatusCode::kUnauthenticated));
static_assert(KVF_OUT_OF_RANGE ==
              static_cast<int>(absl::StatusCode::kOutOfRange));

}  // namespace

[[gnu::cold, gnu::noinline]] kvf_status Fail(
    const absl::Status& status) noexcept {
  Keep(status.message());
  const int code = static_cast<int>(status.code());
  return code > 0 && code < kNameCount ? static_cast<kvf_status>(code)
                                       : KVF_UNKNOWN;
}

[[gnu::cold, gnu::noinline]] kvf_status FailOfException() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    Keep("out of memory");
    return KVF_RESOURCE_EXHAUSTED;
  } catch (const std::exception& error) {
    Keep(error.what());
  } catch (...) {
    Keep("an exception of an unknown type");
  }
  return KVF_INTERNAL;
}

}  // namespace kvferry::c_api

extern "C" {

const char* kvf_status_name(kvf_status status) {
  // C passes any number; as an enumerator of C++ it would be undefined.
  int code;
  static_assert(sizeof(code) == sizeof(status));
  std::memcpy(&code, &status, sizeof(code));
  return code >= 0 && code < kvferry::c_api::kNameCount
             ? kvferry::c_api::kNames[code]
             : "UNKNOWN";
}

const char* kvf_error_message(void) { return kvferry::c_api::message.text; }

}  // extern "C"
