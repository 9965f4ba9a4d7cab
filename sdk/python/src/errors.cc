#include "sdk/python/src/errors.h"

#include <nanobind/nanobind.h>

#include <array>

namespace kvferry::python {
namespace {

namespace nb = nanobind;

// By kvf_status. Never let go of: exceptions may be raised as long as there is
// an interpreter.
std::array<PyObject*, KVF_UNAUTHENTICATED + 1> classes{};

}  // namespace

void LoadErrorClasses() {
  const nb::dict by_number =
      nb::module_::import_("kvferry.errors").attr("CLASSES");
  for (size_t code = KVF_OK + 1; code < classes.size(); ++code) {
    classes[code] = nb::object(by_number[nb::int_(code)]).release().ptr();
  }
}

void Raise(kvf_status status, const std::string& text) {
  const size_t code = static_cast<size_t>(status);
  PyObject* const kind = code > KVF_OK && code < classes.size()
                             ? classes[code]
                             : classes[KVF_UNKNOWN];
  // A text may name bytes that somebody else chose.
  const nb::object message = nb::steal(PyUnicode_DecodeUTF8(
      text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  if (message.is_valid()) PyErr_SetObject(kind, message.ptr());
  throw nb::python_error();
}

void RaiseLast(kvf_status status) { Raise(status, kvf_error_message()); }

}  // namespace kvferry::python
