#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_PAGED_KV_CACHE_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_PAGED_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sdk/examples/llama/model_config.h"

namespace kvferry::llama {

// Where one layer's keys and values lie; distances in floats.
struct KvLayerView {
  const float* keys = nullptr;
  const float* values = nullptr;
  size_t block_stride = 0;
  size_t token_stride = 0;
  size_t head_stride = 0;
  uint32_t block_tokens = 0;
};

// The tokens of one request that have KV, and the cache's blocks they lie in:
// token i is in blocks[i / block_tokens].
struct Sequence {
  uint32_t length = 0;
  std::vector<uint32_t> blocks;
};

// The engine's own KV memory: a pool of blocks of `block_tokens` tokens in the
// order [layer][K,V][block][token][head][dim], as float32. A block is handed to
// one sequence at a time; the blocks of a sequence may lie anywhere.
//
// Memory   allocated once, zeroed
// Threads  one
class PagedKvCache {
 public:
  // Errors  kInvalidArgument  block_tokens or block_count is 0, or the whole is
  //                           over kBytesMax
  static absl::StatusOr<std::unique_ptr<PagedKvCache>> Create(
      const ModelConfig& config, uint32_t block_tokens, uint32_t block_count);
  static constexpr uint64_t kBytesMax = uint64_t{16} << 30;

  // Gives `sequence` blocks until it has room for `token_count` tokens.
  // Errors  kResourceExhausted  not enough free blocks; nothing was given
  absl::Status Reserve(uint32_t token_count, Sequence* sequence);
  // Takes all blocks of `sequence` back and empties it.
  void Release(Sequence* sequence);

  KvLayerView layer(uint32_t index) const;
  // The key or value of one token: kv_dim floats, head after head.
  float* key(uint32_t layer, const Sequence& sequence, uint32_t position);
  float* value(uint32_t layer, const Sequence& sequence, uint32_t position);

  uint32_t block_tokens() const { return block_tokens_; }
  uint32_t free_count() const { return static_cast<uint32_t>(free_.size()); }

  // For whoever copies blocks in and out: the memory and its distances, in
  // bytes.
  std::byte* data() { return reinterpret_cast<std::byte*>(values_.data()); }
  size_t layer_stride_bytes() const { return layer_stride_ * sizeof(float); }
  size_t kv_stride_bytes() const { return kv_stride_ * sizeof(float); }
  size_t block_stride_bytes() const { return block_stride_ * sizeof(float); }
  size_t token_stride_bytes() const { return token_stride_ * sizeof(float); }
  size_t head_stride_bytes() const { return head_stride_ * sizeof(float); }

 private:
  PagedKvCache(const ModelConfig& config, uint32_t block_tokens,
               uint32_t block_count);

  size_t Offset(uint32_t layer, uint32_t kv, const Sequence& sequence,
                uint32_t position) const;

  const uint32_t block_tokens_;
  const size_t head_stride_;
  const size_t token_stride_;
  const size_t block_stride_;
  const size_t kv_stride_;
  const size_t layer_stride_;
  std::vector<float> values_;
  std::vector<uint32_t> free_;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_PAGED_KV_CACHE_H_
