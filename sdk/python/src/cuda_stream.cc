#include "sdk/python/src/cuda_stream.h"

#include <cstdint>

namespace kvferry::python {
namespace {

namespace nb = nanobind;

void* FromInteger(nb::handle value) {
  const nb::object integer = nb::steal(PyNumber_Index(value.ptr()));
  if (!integer.is_valid()) throw nb::python_error();
  const unsigned long long address = PyLong_AsUnsignedLongLong(integer.ptr());
  if (PyErr_Occurred()) throw nb::python_error();
  return reinterpret_cast<void*>(static_cast<uintptr_t>(address));
}

}  // namespace

void* CudaStream(nb::handle stream) {
  if (stream.is_none()) return nullptr;
  if (nb::hasattr(stream, "cuda_stream")) {
    return FromInteger(stream.attr("cuda_stream"));
  }
  if (nb::hasattr(stream, "__cuda_stream__")) {
    // (version of the protocol, address)
    return FromInteger(stream.attr("__cuda_stream__")()[nb::int_(1)]);
  }
  if (PyIndex_Check(stream.ptr()) == 0) {
    throw nb::type_error(
        "stream: must be None, an integer, or an object with cuda_stream or "
        "__cuda_stream__");
  }
  return FromInteger(stream);
}

}  // namespace kvferry::python
