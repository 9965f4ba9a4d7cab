#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_HAND_OVER_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_HAND_OVER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry::llama {

// What decode needs besides the KV to go on without computing any of the
// prompt's tokens. To KVFerry it is opaque.
//
//   bytes     0    4             8               16              24
//             | version | first_token | logits_digest | last_layer_ns |
//
// Integers are little-endian, whatever the machine.
struct HandOver {
  static constexpr uint32_t kVersion = 1;
  static constexpr size_t kBytes = 24;

  // The token that follows the prompt.
  uint32_t first_token = 0;
  // LogitsDigest::state() after the logits of the prompt's last token.
  uint64_t logits_digest = 0;
  // Timeline::NowNs() when the last layer of the prompt's KV was written.
  uint64_t last_layer_ns = 0;

  std::string Encode() const;
  // Errors  kInvalidArgument  another size, another version
  static absl::StatusOr<HandOver> Decode(absl::string_view bytes);
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_HAND_OVER_H_
