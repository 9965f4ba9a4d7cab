#ifndef KVFERRY_TESTS_UNIT_SDK_EXAMPLES_LLAMA_REFERENCE_MODEL_H_
#define KVFERRY_TESTS_UNIT_SDK_EXAMPLES_LLAMA_REFERENCE_MODEL_H_

#include <cstdint>
#include <span>
#include <vector>

#include "sdk/examples/llama/weights.h"

namespace kvferry::llama {

using Vector = std::vector<double>;

// Softmax attention of one query over keys and values as plain vectors.
Vector ReferenceAttention(const Vector& query, const std::vector<Vector>& keys,
                          const std::vector<Vector>& values);

// The logits after the last of `tokens`, by the textbook: double precision, no
// cache, no pages, no chunks, nothing shared with the engine but the weights.
Vector ReferenceLogits(const Weights& weights,
                       std::span<const uint32_t> tokens);

}  // namespace kvferry::llama

#endif  // KVFERRY_TESTS_UNIT_SDK_EXAMPLES_LLAMA_REFERENCE_MODEL_H_
