#ifndef KVFERRY_SDK_PYTHON_SRC_NO_PICKLE_H_
#define KVFERRY_SDK_PYTHON_SRC_NO_PICKLE_H_

#include <nanobind/nanobind.h>

#include <string>

namespace kvferry::python {

// Has pickle and copy refuse objects of a class, with what to do instead.
template <typename Class>
void RefusePickle(Class& type, const char* name, const char* instead) {
  const std::string text = std::string(name) + " cannot be pickled: " + instead;
  type.def(
      "__reduce_ex__",
      [text](nanobind::handle, int) -> nanobind::object {
        throw nanobind::type_error(text.c_str());
      },
      nanobind::arg("protocol"));
}

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_NO_PICKLE_H_
