#ifndef KVFERRY_SDK_PYTHON_SRC_ADMIN_DICTS_H_
#define KVFERRY_SDK_PYTHON_SRC_ADMIN_DICTS_H_

#include <nanobind/nanobind.h>

#include <string>

#include "kvferry/kvferry_admin.h"

// The daemon's answers as dicts, with the fields of kvferry_admin.h's structs.
namespace kvferry::python {

inline nanobind::object AdminText(const char* text) {
  const std::string bytes = text == nullptr ? "" : text;
  const nanobind::object result = nanobind::steal(PyUnicode_DecodeUTF8(
      bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
  if (!result.is_valid()) throw nanobind::python_error();
  return result;
}

template <typename Struct>
Struct SizedStruct() {
  Struct result{};
  result.size = sizeof(result);
  return result;
}

// A device, with its "capabilities", "pools" and "imports".
nanobind::dict GpuDict(const kvf_admin_list* list, size_t index);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_ADMIN_DICTS_H_
