#ifndef KVFERRY_SDK_PYTHON_SRC_CUDA_STREAM_H_
#define KVFERRY_SDK_PYTHON_SRC_CUDA_STREAM_H_

#include <nanobind/nanobind.h>

namespace kvferry::python {

// An engine's queue of GPU work as the C interface takes it: an integer (a
// cudaStream_t), an object that says its own (torch.cuda.Stream.cuda_stream,
// the __cuda_stream__ protocol), or None for the device's default stream. The
// object must live for as long as work is queued.
// Errors  TypeError  none of these
void* CudaStream(nanobind::handle stream);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_CUDA_STREAM_H_
