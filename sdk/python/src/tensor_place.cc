#include "sdk/python/src/tensor_place.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace kvferry::python {
namespace {

namespace nb = nanobind;

std::string DeviceName(const nb::ndarray<>& tensor) {
  switch (tensor.device_type()) {
    case nb::device::cpu::value:
      return "cpu";
    case nb::device::cuda::value:
      return "cuda:" + std::to_string(tensor.device_id());
    default:
      return "DLPack device " + std::to_string(tensor.device_type());
  }
}

// (address, shape, strides in bytes, bytes an item, device). The memory is the
// tensor's: it must be kept.
nb::tuple TensorPlace(const nb::ndarray<>& tensor) {
  nb::list shape;
  nb::list strides;
  const auto item_bytes = static_cast<int64_t>(tensor.itemsize());
  for (size_t axis = 0; axis < tensor.ndim(); ++axis) {
    shape.append(tensor.shape(axis));
    strides.append(tensor.stride(axis) * item_bytes);
  }
  return nb::make_tuple(reinterpret_cast<uintptr_t>(tensor.data()),
                        nb::tuple(shape), nb::tuple(strides), item_bytes,
                        DeviceName(tensor));
}

}  // namespace

void BindTensorPlace(nb::module_& module) {
  module.def("_tensor_place", &TensorPlace, nb::arg("tensor"),
             "Where a tensor with DLPack or the buffer protocol lies.");
}

}  // namespace kvferry::python
