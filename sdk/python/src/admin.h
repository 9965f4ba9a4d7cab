#ifndef KVFERRY_SDK_PYTHON_SRC_ADMIN_H_
#define KVFERRY_SDK_PYTHON_SRC_ADMIN_H_

#include <nanobind/nanobind.h>

namespace kvferry::python {

// kvferry.Admin
void BindAdmin(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_ADMIN_H_
