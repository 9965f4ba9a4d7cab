#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_MODEL_CONFIG_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_MODEL_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace kvferry::llama {

// The shape of the model. Tokens are bytes. Two processes compute the same
// numbers if and only if every field here is equal, so every field goes into
// the namespace's name of the model (NamespaceFor).
struct ModelConfig {
  uint32_t vocabulary_size = 256;
  uint32_t layer_count = 4;
  uint32_t model_dim = 128;
  uint32_t head_count = 8;     // query heads
  uint32_t kv_head_count = 2;  // each serves head_count / kv_head_count of them
  uint32_t head_dim = 16;
  uint32_t hidden_dim = 352;  // of the feed-forward network
  uint32_t context_max = 8192;
  float rope_theta = 10000.0f;
  float norm_epsilon = 1e-5f;
  uint64_t seed = 1;

  // Query heads that read one KV head.
  uint32_t queries_per_kv_head() const { return head_count / kv_head_count; }
  uint32_t query_dim() const { return head_count * head_dim; }
  uint32_t kv_dim() const { return kv_head_count * head_dim; }

  // Errors  kInvalidArgument  a size that is zero or over its limit, heads that
  //                           do not divide, a head_dim the kernels do not
  //                           take
  absl::Status Validate() const;

  // Every field in one line, for the namespace's fingerprint.
  std::string Describe() const;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_MODEL_CONFIG_H_
