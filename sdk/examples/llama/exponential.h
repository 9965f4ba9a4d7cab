#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_EXPONENTIAL_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_EXPONENTIAL_H_

#include <cstdint>

#include "sdk/examples/llama/float4.h"

namespace kvferry::llama {

// e^x with a relative error below 3e-7, for x in [-87, 88]; smaller x gives
// e^-87, larger e^88. Our own because the C library picks its routine by the
// CPU it finds (with or without fused multiply-add), and two nodes that
// exchange KV must agree; and because this one does four at once.
inline Float4 Exponential(Float4 x) {
  using Word4 = uint32_t __attribute__((vector_size(16)));
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // 9 bits: n * it is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low
  // bits; a conversion of a float that is none (NaN) would be undefined.
  constexpr float kRound = 12582912.0f;

  x = x < -87.0f ? Splat4(-87.0f) : x;
  x = x > 88.0f ? Splat4(88.0f) : x;
  const Float4 rounded = x * kLog2E + kRound;
  const Float4 n = rounded - kRound;
  const Float4 r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln(2) / 2
  // Taylor's series to the seventh power: its rest is below 3e-9.
  Float4 sum = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
  sum = sum * r + 1.0f / 120.0f;
  sum = sum * r + 1.0f / 24.0f;
  sum = sum * r + 1.0f / 6.0f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  const Word4 power = (Word4)rounded - (Word4)Splat4(kRound) + 127u;
  return sum * (Float4)(power << 23);
}

inline float Exponential(float x) { return Exponential(Splat4(x))[0]; }

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_EXPONENTIAL_H_
