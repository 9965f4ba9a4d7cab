#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_RMS_NORM_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_RMS_NORM_H_

#include <span>

namespace kvferry::llama {

// output[i] = gain[i] * input[i] / sqrt(mean(input^2) + epsilon).
// `output` may be `input`. All three have the same length.
void RmsNorm(std::span<const float> input, std::span<const float> gain,
             float epsilon, std::span<float> output);

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_RMS_NORM_H_
