#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_EXAMPLE_FLAGS_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_EXAMPLE_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "sdk/examples/llama/model_config.h"

namespace kvferry::llama {

// What llama_prefill and llama_decode both need to be told.
struct ExampleFlags {
  std::string socket;  // empty: the SDK's default
  std::string namespace_name = "llama-example";
  std::string prompt_path;
  std::string cache_salt;
  std::string timeline_path;  // empty: no time line
  uint32_t block_tokens = 16;
  uint32_t chunk_tokens = 256;
  uint32_t slice_count = 1;
  ModelConfig model;

  void AddTo(CLI::App* app);
  // Errors  kInvalidArgument  a value that does not fit the model
  absl::Status Validate() const;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_EXAMPLE_FLAGS_H_
