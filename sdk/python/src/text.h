#ifndef KVFERRY_SDK_PYTHON_SRC_TEXT_H_
#define KVFERRY_SDK_PYTHON_SRC_TEXT_H_

#include <optional>
#include <string>

#include "sdk/python/src/errors.h"

namespace kvferry::python {

// A string as the C interface takes it. It is the string's own.
// Errors  InvalidArgument  a NUL inside, behind which nothing would be read
inline const char* CText(const std::string& text, const char* what) {
  const size_t place = text.find('\0');
  if (place != std::string::npos) {
    Raise(KVF_INVALID_ARGUMENT, std::string(what) + ": a NUL at " +
                                    std::to_string(place) + ", must be none");
  }
  return text.c_str();
}

// Null for none.
inline const char* CText(const std::optional<std::string>& text,
                         const char* what) {
  return text.has_value() ? CText(*text, what) : nullptr;
}

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_TEXT_H_
