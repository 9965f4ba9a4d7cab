#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_SWIGLU_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_SWIGLU_H_

#include <span>

namespace kvferry::llama {

// gate[i] = gate[i] * sigmoid(gate[i]) * up[i], in place.
void SwiGlu(std::span<const float> up, std::span<float> gate);

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_SWIGLU_H_
