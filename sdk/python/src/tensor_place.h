#ifndef KVFERRY_SDK_PYTHON_SRC_TENSOR_PLACE_H_
#define KVFERRY_SDK_PYTHON_SRC_TENSOR_PLACE_H_

#include <nanobind/nanobind.h>

namespace kvferry::python {

// kvferry._core._tensor_place, which kvferry.tensors asks of what is no tensor
// of PyTorch's.
void BindTensorPlace(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_TENSOR_PLACE_H_
