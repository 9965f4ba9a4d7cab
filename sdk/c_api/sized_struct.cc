#include "sdk/c_api/sized_struct.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kvferry::c_api {
namespace {

// Not through the struct's type: the caller's may be shorter than ours, and an
// array of another version's structs is aligned as that version's are.
size_t SizeOf(const void* object) {
  size_t size;
  std::memcpy(&size, object, sizeof(size));
  return size;
}

[[gnu::cold, gnu::noinline]] absl::Status WrongSize(const StructInfo& info,
                                                    size_t size) {
  return absl::InvalidArgumentError(absl::StrCat(
      info.name, ".size is ", size, ", must be its sizeof: ", info.size_min,
      " to ", kStructSizeMax, ", here ", info.size));
}

[[gnu::cold, gnu::noinline]] absl::Status TooNew(const StructInfo& info,
                                                 size_t size, size_t at) {
  return absl::UnimplementedError(absl::StrCat(
      info.name, ".size is ", size, ", this library knows ", info.size,
      " bytes, and byte ", at, " is not zero: a newer library has it"));
}

}  // namespace

absl::Status CheckResult(const StructInfo& info, const void* target) {
  if (target == nullptr) [[unlikely]] {
    return absl::InvalidArgumentError(absl::StrCat(info.name, " is null"));
  }
  const size_t size = SizeOf(target);
  if (size < info.size_min || size > kStructSizeMax) [[unlikely]]
    return WrongSize(info, size);
  return absl::OkStatus();
}

absl::Status ReadStruct(const StructInfo& info, const void* source,
                        void* target) {
  KVFERRY_RETURN_IF_ERROR(CheckResult(info, source));
  const size_t size = SizeOf(source);
  const auto* const bytes = static_cast<const unsigned char*>(source);
  for (size_t i = info.size; i < size; ++i) {
    if (bytes[i] != 0) return TooNew(info, size, i);
  }
  std::memcpy(target, source, std::min(size, info.size));
  return absl::OkStatus();
}

absl::Status ReadElement(const StructInfo& info, const void* first,
                         size_t index, void* target) {
  KVFERRY_RETURN_IF_ERROR(CheckResult(info, first));
  const size_t size = SizeOf(first);
  const auto* const source =
      static_cast<const unsigned char*>(first) + index * size;
  if (SizeOf(source) != size) {
    return absl::InvalidArgumentError(absl::StrCat(
        info.name, " ", index, " of an array has size ", SizeOf(source),
        ", the first one ", size, ": all must have one"));
  }
  return ReadStruct(info, source, target);
}

void WriteStruct(const StructInfo& info, const void* value, void* target) {
  const size_t size = SizeOf(target);
  auto* const bytes = static_cast<unsigned char*>(target);
  const size_t known = std::min(size, info.size);
  std::memcpy(bytes + sizeof(size),
              static_cast<const unsigned char*>(value) + sizeof(size),
              known - sizeof(size));
  std::memset(bytes + known, 0, size - known);
}

}  // namespace kvferry::c_api
