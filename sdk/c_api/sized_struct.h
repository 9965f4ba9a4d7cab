#ifndef KVFERRY_SDK_C_API_SIZED_STRUCT_H_
#define KVFERRY_SDK_C_API_SIZED_STRUCT_H_

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "absl/status/status.h"
#include "base/status.h"

// Structs that begin with `size`, their sizeof as the caller knows it, which
// may be another version's (docs/decisions/0006-c-abi.md). A caller's memory is
// touched up to that size, here and nowhere else.
namespace kvferry::c_api {

// What the library knows of one struct.
struct StructInfo {
  const char* name;
  size_t size;  // its sizeof here
  // The smallest size that is accepted: up to the last field without which the
  // struct says nothing. It stays what it is for as long as the ABI's version.
  size_t size_min;
};

// sized_structs.h has one for each struct.
template <typename T>
struct StructInfoOf;

// No struct becomes so large; more is memory that nobody has initialised.
inline constexpr size_t kStructSizeMax = 64 * 1024;

// Copies the struct at `source` into `target`, which has info.size bytes, all
// zero. What the caller does not know of stays zero.
// Errors  kInvalidArgument  null; a size under the least, or absurd
//         kUnimplemented    the caller's is larger, and what is beyond ours is
//                           not zero: it asks for what this library has not
absl::Status ReadStruct(const StructInfo& info, const void* source,
                        void* target);

// Whether `target` is a struct that can be filled.
// Errors  kInvalidArgument, as above
absl::Status CheckResult(const StructInfo& info, const void* target);

// Fills the struct at `target` from `value`, of info.size bytes, and zeroes
// what is beyond. Its `size` stays the caller's.
// REQUIRES  CheckResult was OK
void WriteStruct(const StructInfo& info, const void* value, void* target);

template <typename T>
absl::Status ReadSized(const T* source, T* target) {
  static_assert(std::is_trivially_copyable_v<T>);
  static_assert(offsetof(T, size) == 0);
  return ReadStruct(StructInfoOf<T>::kInfo, source, target);
}

// The same; null: *target stays what it is, all defaults.
template <typename T>
absl::Status ReadOptional(const T* source, T* target) {
  return source == nullptr ? absl::OkStatus() : ReadSized(source, target);
}

template <typename T>
absl::Status CheckResult(const T* target) {
  return CheckResult(StructInfoOf<T>::kInfo, target);
}

template <typename T>
void WriteSized(const T& value, T* target) {
  static_assert(std::is_trivially_copyable_v<T>);
  static_assert(offsetof(T, size) == 0);
  WriteStruct(StructInfoOf<T>::kInfo, &value, target);
}

// Element `index` of an array whose first element is `first`: all are as large
// as that one says.
// REQUIRES  elements before it were read
// Errors    also kInvalidArgument  another size than the first one's
absl::Status ReadElement(const StructInfo& info, const void* first,
                         size_t index, void* target);

template <typename T>
absl::Status ReadElementOf(const T* first, size_t index, T* target) {
  return ReadElement(StructInfoOf<T>::kInfo, first, index, target);
}

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_SIZED_STRUCT_H_
