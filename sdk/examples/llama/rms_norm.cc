#include "sdk/examples/llama/rms_norm.h"

#include <cmath>
#include <cstddef>

#include "sdk/examples/llama/float4.h"

namespace kvferry::llama {

void RmsNorm(std::span<const float> input, std::span<const float> gain,
             float epsilon, std::span<float> output) {
  Float4 squares = {};
  for (size_t i = 0; i < input.size(); ++i) {
    squares[i % kFloat4Width] += input[i] * input[i];
  }
  const float mean = Sum(squares) / static_cast<float>(input.size());
  const float scale = 1.0f / std::sqrt(mean + epsilon);
  for (size_t i = 0; i < input.size(); ++i) {
    output[i] = gain[i] * (input[i] * scale);
  }
}

}  // namespace kvferry::llama
