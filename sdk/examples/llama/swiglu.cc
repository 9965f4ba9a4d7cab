#include "sdk/examples/llama/swiglu.h"

#include <cstddef>

#include "sdk/examples/llama/exponential.h"

namespace kvferry::llama {

void SwiGlu(std::span<const float> up, std::span<float> gate) {
  for (size_t i = 0; i < gate.size(); ++i) {
    const float sigmoid = 1.0f / (1.0f + Exponential(-gate[i]));
    gate[i] = gate[i] * sigmoid * up[i];
  }
}

}  // namespace kvferry::llama
