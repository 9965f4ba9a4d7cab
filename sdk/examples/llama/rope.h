#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_ROPE_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_ROPE_H_

#include <cstdint>
#include <span>
#include <vector>

namespace kvferry::llama {

// Rotary position embedding: elements i and i + head_dim / 2 of a head turn by
// the angle position * theta^(-2i / head_dim), so that the product of a query
// and a key depends on their distance alone.
class Rope {
 public:
  // Makes the sines and cosines of every position below `context_max`.
  Rope(uint32_t head_dim, uint32_t context_max, float theta);

  // Turns every head of `heads` (head_dim numbers each) in place.
  // REQUIRES  position < context_max; heads.size() a multiple of head_dim
  void Rotate(uint32_t position, std::span<float> heads) const;

 private:
  struct Turn {
    float cosine;
    float sine;
  };

  uint32_t half_dim_;
  std::vector<Turn> turns_;  // [position][half_dim]
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_ROPE_H_
