#ifndef KVFERRY_SDK_PYTHON_SRC_DLPACK_H_
#define KVFERRY_SDK_PYTHON_SRC_DLPACK_H_

#include <nanobind/nanobind.h>

#include "sdk/python/src/page.h"

namespace kvferry::python {

// Page.__dlpack__: a vector of uint8 in host memory. Whoever takes it over may
// let go of it in any thread, without the GIL, also when Python has ended.
//
// Errors  ValueError   a stream: host memory has none
//         BufferError  another device; or a read-only page for a consumer that
//                      cannot be told so (max_version below 1.0, no copy)
nanobind::object ToDlpack(const PageView& page, nanobind::handle stream,
                          nanobind::handle max_version,
                          nanobind::handle dl_device, nanobind::handle copy);
// (kDLCPU, 0)
nanobind::tuple DlpackDevice(const PageView& page);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_DLPACK_H_
