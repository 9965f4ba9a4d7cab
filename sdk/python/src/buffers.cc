#include "sdk/python/src/buffers.h"

#include <cstring>
#include <limits>
#include <string>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

constexpr size_t kKeyBytes = sizeof(kvf_key);

template <typename Integer>
Integer At(const void* data, size_t index) {
  Integer value;
  std::memcpy(&value, static_cast<const char*>(data) + index * sizeof(value),
              sizeof(value));
  return value;
}

// The pending exception's text, which is taken away.
std::string TakeErrorText() {
  nb::python_error error;
  return nb::str(error.value()).c_str();
}

// 'i' and 'u' for signed and unsigned integers in this machine's order, 0 for
// anything else.
char IntegerKind(const char* format) {
  if (format == nullptr) return 'u';  // bytes
  // '@' and '=' are this machine's order, '<' is on a little-endian one.
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (format[0] == '\0' || format[1] != '\0') return 0;
  if (std::strchr("bhilqn", format[0]) != nullptr) return 'i';
  if (std::strchr("BHILQN", format[0]) != nullptr) return 'u';
  return 0;
}

template <typename Integer>
size_t ConvertTokens(const void* data, size_t count, uint32_t* tokens) {
  for (size_t i = 0; i < count; ++i) {
    const Integer value = At<Integer>(data, i);
    // A negative value is a large one.
    if (static_cast<uint64_t>(value) > std::numeric_limits<uint32_t>::max()) {
      return i;
    }
    tokens[i] = static_cast<uint32_t>(value);
  }
  return count;
}

}  // namespace

BufferView::BufferView(nb::handle object, const char* what, int flags) {
  if (PyObject_GetBuffer(object.ptr(), &view_, flags) == 0) return;
  Raise(KVF_INVALID_ARGUMENT, std::string(what) + ": " + TakeErrorText());
}

KeysView::KeysView(const Buffer& object, const char* what)
    : bytes_(object, what),
      data_(static_cast<const kvf_key*>(bytes_.data())),
      size_(bytes_.bytes() / kKeyBytes) {
  if (bytes_.bytes() % kKeyBytes != 0) {
    Raise(KVF_INVALID_ARGUMENT,
          std::string(what) + ": " + std::to_string(bytes_.bytes()) +
              " bytes, must be a multiple of " + std::to_string(kKeyBytes));
  }
  if (reinterpret_cast<uintptr_t>(data_) % alignof(kvf_key) != 0) {
    const GilRelease release(size_ > kKeysWithGilMax);
    aligned_.resize(size_);
    if (size_ > 0) {
      std::memcpy(aligned_.data(), bytes_.data(), bytes_.bytes());
    }
    data_ = aligned_.data();
  }
}

ParentKey::ParentKey(const std::optional<Buffer>& object) {
  if (!object.has_value()) return;
  const ReadBytes bytes(*object, "parent");
  if (bytes.bytes() != kKeyBytes) {
    Raise(KVF_INVALID_ARGUMENT, "parent: " + std::to_string(bytes.bytes()) +
                                    " bytes, must be " +
                                    std::to_string(kKeyBytes));
  }
  key_.emplace();
  std::memcpy(&*key_, bytes.data(), kKeyBytes);
}

IntegerView::IntegerView(const Buffer& object, const char* what,
                         size_t bytes_min, const char* accepted)
    : bytes_(object, what, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT),
      item_bytes_(static_cast<size_t>(bytes_.view().itemsize)) {
  const char kind = IntegerKind(bytes_.view().format);
  if (kind == 0 || item_bytes_ < bytes_min || item_bytes_ > 8) {
    const char* const format = bytes_.view().format;
    Raise(KVF_INVALID_ARGUMENT, std::string(what) + ": items of format '" +
                                    (format == nullptr ? "B" : format) +
                                    "' and " + std::to_string(item_bytes_) +
                                    " bytes, must be " + accepted);
  }
  is_signed_ = kind == 'i';
  size_ = bytes_.bytes() / item_bytes_;
}

TokensView::TokensView(const Buffer& object)
    : integers_(object, "tokens", 4, "uint32, int32, uint64 or int64") {}

bool TokensView::Convert() {
  const void* const data = integers_.data();
  const size_t count = integers_.size();
  if (integers_.item_bytes() == 4 && !integers_.is_signed() &&
      reinterpret_cast<uintptr_t>(data) % alignof(uint32_t) == 0) {
    data_ = static_cast<const uint32_t*>(data);
    return true;
  }
  converted_.resize(count);
  uint32_t* const out = converted_.data();
  if (integers_.item_bytes() == 8) {
    wrong_ = integers_.is_signed() ? ConvertTokens<int64_t>(data, count, out)
                                   : ConvertTokens<uint64_t>(data, count, out);
  } else {
    wrong_ = integers_.is_signed() ? ConvertTokens<int32_t>(data, count, out)
                                   : ConvertTokens<uint32_t>(data, count, out);
  }
  data_ = out;
  return wrong_ == count;
}

void TokensView::RaiseWrong() const {
  const void* const data = integers_.data();
  std::string value;
  if (integers_.item_bytes() == 4) {
    value = std::to_string(At<int32_t>(data, wrong_));
  } else if (integers_.is_signed()) {
    value = std::to_string(At<int64_t>(data, wrong_));
  } else {
    value = std::to_string(At<uint64_t>(data, wrong_));
  }
  Raise(KVF_INVALID_ARGUMENT, "tokens: " + value + " at " +
                                  std::to_string(wrong_) +
                                  ", must be 0 to 4294967295");
}

}  // namespace kvferry::python
