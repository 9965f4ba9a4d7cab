#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_FLOAT4_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_FLOAT4_H_

#include <cstdint>
#include <cstring>

namespace kvferry::llama {

// Four floats that are computed at once (a vector type of GCC and Clang).
//
// A sum of floats depends on its order, so a compiler may not reorder it, and a
// loop over one accumulator stays scalar. The engine writes every order down:
// either each lane is a sum of its own, in the order of the loop, or element i
// of a sum goes to lane i % 4 and Sum() adds the lanes. The order follows from
// the element's index alone, never from the size of a chunk, which is what
// makes results equal bit for bit however a token was computed.
using Float4 = float __attribute__((vector_size(16)));
inline constexpr uint32_t kFloat4Width = 4;

inline Float4 Load4(const float* source) {
  Float4 value;
  std::memcpy(&value, source, sizeof(value));  // need not be aligned
  return value;
}

inline void Store4(const Float4& value, float* target) {
  std::memcpy(target, &value, sizeof(value));
}

inline Float4 Splat4(float value) { return Float4{value, value, value, value}; }

inline float Sum(const Float4& lanes) {
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_FLOAT4_H_
