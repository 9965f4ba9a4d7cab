#include "sdk/examples/llama/rope.h"

#include <cmath>
#include <cstddef>

namespace kvferry::llama {

Rope::Rope(uint32_t head_dim, uint32_t context_max, float theta)
    : half_dim_(head_dim / 2) {
  turns_.reserve(size_t{context_max} * half_dim_);
  std::vector<double> frequencies;
  for (uint32_t i = 0; i < half_dim_; ++i) {
    frequencies.push_back(
        std::pow(double{theta}, -2.0 * i / static_cast<double>(head_dim)));
  }
  for (uint32_t position = 0; position < context_max; ++position) {
    for (const double frequency : frequencies) {
      const double angle = position * frequency;
      turns_.push_back({static_cast<float>(std::cos(angle)),
                        static_cast<float>(std::sin(angle))});
    }
  }
}

void Rope::Rotate(uint32_t position, std::span<float> heads) const {
  const Turn* turns = turns_.data() + size_t{position} * half_dim_;
  for (size_t head = 0; head < heads.size(); head += size_t{2} * half_dim_) {
    float* first = heads.data() + head;
    float* second = first + half_dim_;
    for (uint32_t i = 0; i < half_dim_; ++i) {
      const float x = first[i];
      const float y = second[i];
      first[i] = x * turns[i].cosine - y * turns[i].sine;
      second[i] = x * turns[i].sine + y * turns[i].cosine;
    }
  }
}

}  // namespace kvferry::llama
