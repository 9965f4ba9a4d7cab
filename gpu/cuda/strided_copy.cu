#include <cuda_runtime.h>

#include "gpu/cuda/strided_copy.h"

namespace kvferry::gpu {
namespace {

// How vectors are read and written. Nothing here is read twice by a launch, so
// nothing is left behind in the caches that the model next door needs: but for
// the engine's side. Its blocks were written, or will be read, by kernels
// around this one, and keep the L2's normal order.
struct DeviceAccess {
  template <typename Vector, bool kToPage>
  static __device__ __forceinline__ Vector Load(const std::byte* address) {
    const auto* vector = reinterpret_cast<const Vector*>(address);
    return kToPage ? __ldcg(vector) : __ldcs(vector);
  }
  template <typename Vector, bool kToPage>
  static __device__ __forceinline__ void Store(std::byte* address,
                                               const Vector& value) {
    auto* vector = reinterpret_cast<Vector*>(address);
    if (kToPage) {
      __stcs(vector, value);
    } else {
      __stcg(vector, value);
    }
  }
};

template <typename Vector, bool kToPage>
__global__ void __launch_bounds__(kCopyThreads)
    StridedCopyKernel(const __grid_constant__ StridedCopyParams params) {
  for (uint32_t chunk = blockIdx.x; chunk < params.chunks; chunk += gridDim.x) {
    CopyChunk<Vector, kToPage, DeviceAccess>(params, chunk, threadIdx.x);
  }
}

using Kernel = void (*)(StridedCopyParams);

template <bool kToPage>
Kernel KernelFor(uint32_t width) {
  switch (width) {
    case 16:
      return StridedCopyKernel<uint4, kToPage>;
    case 8:
      return StridedCopyKernel<uint2, kToPage>;
    case 4:
      return StridedCopyKernel<unsigned int, kToPage>;
    case 2:
      return StridedCopyKernel<unsigned short, kToPage>;
    default:
      return StridedCopyKernel<unsigned char, kToPage>;
  }
}

Kernel KernelFor(uint32_t width, bool to_page) {
  return to_page ? KernelFor<true>(width) : KernelFor<false>(width);
}

}  // namespace

cudaError_t LaunchStridedCopy(const StridedCopyParams& params, bool to_page,
                              uint32_t blocks_max, cudaStream_t stream) {
  const uint32_t blocks =
      params.chunks < blocks_max ? params.chunks : blocks_max;
  // Not <<<>>>: its error would stay behind as the thread's last one.
  void* arguments[] = {const_cast<StridedCopyParams*>(&params)};
  return cudaLaunchKernel(
      reinterpret_cast<const void*>(KernelFor(params.width, to_page)),
      dim3(blocks), dim3(kCopyThreads), arguments, 0, stream);
}

cudaError_t LoadStridedCopyKernels() {
  for (uint32_t width = 1; width <= 16; width *= 2) {
    for (const bool to_page : {false, true}) {
      cudaFuncAttributes attributes;
      const cudaError_t error = cudaFuncGetAttributes(
          &attributes,
          reinterpret_cast<const void*>(KernelFor(width, to_page)));
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

}  // namespace kvferry::gpu
