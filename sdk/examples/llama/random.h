#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_RANDOM_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_RANDOM_H_

#include <cstdint>

namespace kvferry::llama {

// splitmix64: the standard library's distributions differ between
// implementations, and weights must not.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Uniform in [-1, 1), a multiple of 2^-23, so exact in float32.
  float Symmetric() {
    const auto top = static_cast<int32_t>(Next() >> 40);  // 24 bits
    return static_cast<float>(top - (1 << 23)) * 0x1p-23f;
  }

 private:
  uint64_t state_;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_RANDOM_H_
