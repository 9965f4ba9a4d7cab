#ifndef KVFERRY_SDK_C_API_ARGUMENTS_H_
#define KVFERRY_SDK_C_API_ARGUMENTS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kvferry/key.h"
#include "kvferry/kvferry.h"

// What C passes, as what C++ takes.
namespace kvferry::c_api {

[[gnu::cold, gnu::noinline]] inline absl::Status NullError(const char* name) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is null"));
}

// Errors  kInvalidArgument  null
inline absl::Status NotNull(const void* pointer, const char* name) {
  if (pointer != nullptr) [[likely]]
    return absl::OkStatus();
  return NullError(name);
}
// The same for `count` elements of an array, which may be none.
inline absl::Status NotNull(const void* pointer, size_t count,
                            const char* name) {
  if (pointer != nullptr || count == 0) [[likely]]
    return absl::OkStatus();
  return NullError(name);
}

// A key is the same 16 bytes on both sides, so an array of them is passed on as
// it lies.
static_assert(sizeof(kvf_key) == sizeof(BlockKey) &&
              alignof(kvf_key) == alignof(BlockKey) &&
              offsetof(kvf_key, lo) == offsetof(BlockKey, lo) &&
              offsetof(kvf_key, hi) == offsetof(BlockKey, hi));

inline std::span<const BlockKey> KeySpan(const kvf_key* keys, size_t count) {
  return {reinterpret_cast<const BlockKey*>(keys), count};
}
// Null: none.
inline BlockKey KeyOrNone(const kvf_key* key) {
  return key == nullptr ? BlockKey{} : BlockKey{key->lo, key->hi};
}
inline kvf_key ToC(const BlockKey& key) { return {key.lo, key.hi}; }
inline kvf_bytes ToC(std::span<const std::byte> bytes) {
  return {bytes.data(), bytes.size()};
}

inline absl::string_view TextOrEmpty(const char* text) {
  return text == nullptr ? absl::string_view() : absl::string_view(text);
}
// REQUIRES  NotNull(bytes.data, bytes.length) was OK
inline absl::string_view TextOf(kvf_bytes bytes) {
  return {static_cast<const char*>(bytes.data), bytes.length};
}

// Below 0: for ever.
inline absl::Duration Timeout(int64_t timeout_ns) {
  return timeout_ns < 0 ? absl::InfiniteDuration()
                        : absl::Nanoseconds(timeout_ns);
}
inline absl::Time Deadline(int64_t timeout_ns) {
  return timeout_ns < 0 ? absl::InfiniteFuture()
                        : absl::Now() + absl::Nanoseconds(timeout_ns);
}

// Errors  kUnimplemented  a flag that this library does not know
inline absl::Status CheckFlags(uint64_t flags, uint64_t known,
                               const char* name) {
  if ((flags & ~known) == 0) [[likely]]
    return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(name, " is 0x", absl::Hex(flags),
                   ", this library knows no more than 0x", absl::Hex(known)));
}

// Errors  kUnimplemented  a value that this library does not know
inline absl::Status CheckEnumerator(uint32_t value, uint32_t last,
                                    const char* name) {
  if (value <= last) [[likely]]
    return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(name, " is ", value, ", this library knows 0 to ", last));
}

// A field that has no meaning yet.
// Errors  kUnimplemented  it is not zero
inline absl::Status CheckReserved(uint32_t value, const char* name) {
  if (value == 0) [[likely]]
    return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(name, " is ", value, ", must be 0"));
}

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_ARGUMENTS_H_
