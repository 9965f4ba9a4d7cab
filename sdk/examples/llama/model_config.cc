#include "sdk/examples/llama/model_config.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/examples/llama/attention.h"

namespace kvferry::llama {
namespace {

constexpr uint32_t kVocabularySizeMax = 256;  // a token is a byte
constexpr uint32_t kLayerCountMax = 128;
constexpr uint32_t kWidthMax = 16384;
constexpr uint32_t kContextMax = 1 << 20;

absl::Status CheckRange(const char* name, uint32_t value, uint32_t maximum) {
  if (value >= 1 && value <= maximum) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model: ", name, " is ", value, ", must be 1 to ", maximum));
}

}  // namespace

absl::Status ModelConfig::Validate() const {
  KVFERRY_RETURN_IF_ERROR(
      CheckRange("vocabulary_size", vocabulary_size, kVocabularySizeMax));
  KVFERRY_RETURN_IF_ERROR(
      CheckRange("layer_count", layer_count, kLayerCountMax));
  KVFERRY_RETURN_IF_ERROR(CheckRange("model_dim", model_dim, kWidthMax));
  KVFERRY_RETURN_IF_ERROR(CheckRange("head_count", head_count, kWidthMax));
  KVFERRY_RETURN_IF_ERROR(
      CheckRange("kv_head_count", kv_head_count, head_count));
  KVFERRY_RETURN_IF_ERROR(CheckRange("head_dim", head_dim, kWidthMax));
  KVFERRY_RETURN_IF_ERROR(CheckRange("hidden_dim", hidden_dim, kWidthMax));
  KVFERRY_RETURN_IF_ERROR(CheckRange("context_max", context_max, kContextMax));
  if (head_count % kv_head_count != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: head_count ", head_count,
                     " is not a multiple of kv_head_count ", kv_head_count));
  }
  if (head_dim % Attention::kHeadDimStep != 0) {
    return absl::InvalidArgumentError(absl::StrCat("model: head_dim ", head_dim,
                                                   " is not a multiple of ",
                                                   Attention::kHeadDimStep));
  }
  if (uint64_t{head_count} * head_dim > kWidthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("model: head_count ", head_count, " x head_dim ", head_dim,
                     " is over ", kWidthMax));
  }
  return absl::OkStatus();
}

std::string ModelConfig::Describe() const {
  return absl::StrCat("seed ", seed, ", vocabulary ", vocabulary_size,
                      ", layers ", layer_count, ", width ", model_dim,
                      ", heads ", head_count, "/", kv_head_count, " x ",
                      head_dim, ", hidden ", hidden_dim, ", theta ", rope_theta,
                      ", epsilon ", norm_epsilon);
}

}  // namespace kvferry::llama
