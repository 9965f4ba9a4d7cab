#include "sdk/examples/llama/hand_over.h"

#include "absl/strings/str_cat.h"

namespace kvferry::llama {
namespace {

template <typename Integer>
void Append(Integer value, std::string* bytes) {
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    bytes->push_back(static_cast<char>(value >> (8 * i) & 0xff));
  }
}

template <typename Integer>
Integer Take(absl::string_view* bytes) {
  Integer value = 0;
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    value |= Integer{static_cast<unsigned char>((*bytes)[i])} << (8 * i);
  }
  bytes->remove_prefix(sizeof(Integer));
  return value;
}

}  // namespace

std::string HandOver::Encode() const {
  std::string bytes;
  bytes.reserve(kBytes);
  Append(kVersion, &bytes);
  Append(first_token, &bytes);
  Append(logits_digest, &bytes);
  Append(last_layer_ns, &bytes);
  return bytes;
}

absl::StatusOr<HandOver> HandOver::Decode(absl::string_view bytes) {
  if (bytes.size() != kBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("hand-over data of ", bytes.size(), " bytes, must be ",
                     size_t{kBytes}));
  }
  if (const auto version = Take<uint32_t>(&bytes); version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat("hand-over data of version ",
                                                   version, ", this one reads ",
                                                   uint32_t{kVersion}));
  }
  HandOver result;
  result.first_token = Take<uint32_t>(&bytes);
  result.logits_digest = Take<uint64_t>(&bytes);
  result.last_layer_ns = Take<uint64_t>(&bytes);
  return result;
}

}  // namespace kvferry::llama
