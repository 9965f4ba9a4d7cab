#ifndef KVFERRY_SDK_PYTHON_SRC_ERRORS_H_
#define KVFERRY_SDK_PYTHON_SRC_ERRORS_H_

#include <string>

#include "kvferry/kvferry.h"

namespace kvferry::python {

// Takes the classes out of kvferry.errors; once, when the module is made.
void LoadErrorClasses();

// Raises the class for `status`. These want the GIL.
[[noreturn]] void Raise(kvf_status status, const std::string& text);
// The same with the text of this thread's last call that failed.
[[noreturn]] void RaiseLast(kvf_status status);

inline void Check(kvf_status status) {
  if (status != KVF_OK) RaiseLast(status);
}

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_ERRORS_H_
