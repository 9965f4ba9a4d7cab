#include "sdk/examples/llama/example_flags.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::llama {

void ExampleFlags::AddTo(CLI::App* app) {
  app->add_option("--socket", socket, "The daemon's socket");
  app->add_option("--namespace", namespace_name, "The namespace to enter")
      ->capture_default_str();
  app->add_option("--prompt", prompt_path, "A text file; its bytes are tokens")
      ->required();
  app->add_option("--cache-salt", cache_salt,
                  "Separates this prompt's keys from those of other salts");
  app->add_option("--timeline", timeline_path,
                  "Write what happened when to this file, for timeline.py");
  app->add_option("--block-tokens", block_tokens, "Tokens of a block")
      ->capture_default_str();
  app->add_option("--chunk-tokens", chunk_tokens, "Tokens computed at a time")
      ->capture_default_str();
  app->add_option("--slices", slice_count,
                  "Slices of a block: its KV heads divided by ranks")
      ->capture_default_str();
  app->add_option("--seed", model.seed, "Makes the model's weights")
      ->capture_default_str();
  app->add_option("--layers", model.layer_count, "Layers of the model")
      ->capture_default_str();
}

absl::Status ExampleFlags::Validate() const {
  KVFERRY_RETURN_IF_ERROR(model.Validate());
  if (block_tokens == 0 || block_tokens > model.context_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("--block-tokens is ", block_tokens, ", must be 1 to ",
                     model.context_max));
  }
  if (chunk_tokens == 0) {
    return absl::InvalidArgumentError("--chunk-tokens is 0");
  }
  if (slice_count == 0 || model.kv_head_count % slice_count != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--slices is ", slice_count, ", must divide the ",
                     model.kv_head_count, " KV heads"));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::llama
