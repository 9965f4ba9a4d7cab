#ifndef KVFERRY_GPU_CUDA_FAST_DIVISOR_H_
#define KVFERRY_GPU_CUDA_FAST_DIVISOR_H_

#include <cstdint>

#include "gpu/transfer_shape_pod.h"

namespace kvferry::gpu {

// What FastDivisor divides, and by what: below this.
inline constexpr uint32_t kFastDivideMax = uint32_t{1} << 31;

// Division by a number that is known when a kernel is launched, as one
// multiplication: a GPU has no instruction for it and takes some twenty others.
//
// With shift the smallest whose power of two is at least d, and multiplier
// floor(2^32 * (2^shift - d) / d) + 1, n / d is
// (high half of n * multiplier + n) >> shift for every n below 2^31 (Granlund
// and Montgomery, "Division by invariant integers using multiplication", with
// the bound that keeps the sum within 32 bits).
struct FastDivisor {
  uint32_t divisor;
  uint32_t multiplier;
  uint32_t shift;

  KVFERRY_HOST_DEVICE uint32_t Divide(uint32_t n) const {
#ifdef __CUDA_ARCH__
    const uint32_t high = __umulhi(n, multiplier);
#else
    const uint32_t high =
        static_cast<uint32_t>((uint64_t{n} * multiplier) >> 32);
#endif
    return (high + n) >> shift;
  }
};

// Shape  0 < divisor < kFastDivideMax
inline FastDivisor MakeFastDivisor(uint32_t divisor) {
  uint32_t shift = 0;
  while ((uint64_t{1} << shift) < divisor) ++shift;
  const uint64_t excess = (uint64_t{1} << shift) - divisor;
  const uint64_t multiplier = (excess << 32) / divisor + 1;
  return FastDivisor{divisor, static_cast<uint32_t>(multiplier), shift};
}

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_FAST_DIVISOR_H_
