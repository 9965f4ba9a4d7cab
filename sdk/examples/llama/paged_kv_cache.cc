#include "sdk/examples/llama/paged_kv_cache.h"

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

namespace kvferry::llama {

absl::StatusOr<std::unique_ptr<PagedKvCache>> PagedKvCache::Create(
    const ModelConfig& config, uint32_t block_tokens, uint32_t block_count) {
  if (block_tokens == 0 || block_tokens > config.context_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv cache: block_tokens is ", block_tokens,
                     ", must be 1 to context_max ", config.context_max));
  }
  if (block_count == 0) {
    return absl::InvalidArgumentError("kv cache: block_count is 0");
  }
  const uint64_t block_bytes = uint64_t{config.layer_count} * 2 * block_tokens *
                               config.kv_dim() * sizeof(float);
  if (block_count > kBytesMax / block_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv cache: ", block_count, " blocks of ", block_bytes,
                     " bytes are over ", kBytesMax, " bytes"));
  }
  return absl::WrapUnique(new PagedKvCache(config, block_tokens, block_count));
}

PagedKvCache::PagedKvCache(const ModelConfig& config, uint32_t block_tokens,
                           uint32_t block_count)
    : block_tokens_(block_tokens),
      head_stride_(config.head_dim),
      token_stride_(head_stride_ * config.kv_head_count),
      block_stride_(token_stride_ * block_tokens),
      kv_stride_(block_stride_ * block_count),
      layer_stride_(kv_stride_ * 2),
      values_(layer_stride_ * config.layer_count) {
  free_.reserve(block_count);
  // Every other block, then the rest: neighbours in a sequence are not
  // neighbours in memory, as in an engine that has run for a while.
  for (uint32_t block = 0; block < block_count; block += 2) {
    free_.push_back(block);
  }
  for (uint32_t block = 1; block < block_count; block += 2) {
    free_.push_back(block);
  }
}

absl::Status PagedKvCache::Reserve(uint32_t token_count, Sequence* sequence) {
  const uint64_t needed =
      (uint64_t{token_count} + block_tokens_ - 1) / block_tokens_;
  if (needed <= sequence->blocks.size()) return absl::OkStatus();
  const uint64_t missing = needed - sequence->blocks.size();
  if (missing > free_.size()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "kv cache: ", missing, " blocks wanted, ", free_.size(), " are free"));
  }
  for (uint64_t i = 0; i < missing; ++i) {
    sequence->blocks.push_back(free_.back());
    free_.pop_back();
  }
  return absl::OkStatus();
}

void PagedKvCache::Release(Sequence* sequence) {
  free_.insert(free_.end(), sequence->blocks.rbegin(), sequence->blocks.rend());
  sequence->blocks.clear();
  sequence->length = 0;
}

KvLayerView PagedKvCache::layer(uint32_t index) const {
  const float* keys = values_.data() + index * layer_stride_;
  return {.keys = keys,
          .values = keys + kv_stride_,
          .block_stride = block_stride_,
          .token_stride = token_stride_,
          .head_stride = head_stride_,
          .block_tokens = block_tokens_};
}

float* PagedKvCache::key(uint32_t layer, const Sequence& sequence,
                         uint32_t position) {
  return values_.data() + Offset(layer, 0, sequence, position);
}

float* PagedKvCache::value(uint32_t layer, const Sequence& sequence,
                           uint32_t position) {
  return values_.data() + Offset(layer, 1, sequence, position);
}

size_t PagedKvCache::Offset(uint32_t layer, uint32_t kv,
                            const Sequence& sequence, uint32_t position) const {
  const uint32_t block = sequence.blocks[position / block_tokens_];
  return layer * layer_stride_ + kv * kv_stride_ + block * block_stride_ +
         position % block_tokens_ * token_stride_;
}

}  // namespace kvferry::llama
