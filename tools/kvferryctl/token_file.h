#ifndef KVFERRY_TOOLS_KVFERRYCTL_TOKEN_FILE_H_
#define KVFERRY_TOOLS_KVFERRYCTL_TOKEN_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry::ctl {

enum class TokenFormat {
  kNumbers,  // token ids in decimal, whitespace between them
  kBytes,    // every byte is a token
};

// The tokens of `content`.
// Errors  kInvalidArgument  a word that is no token id; the message begins
//                           with `name:line:column`
absl::StatusOr<std::vector<uint32_t>> ParseTokens(absl::string_view name,
                                                  absl::string_view content,
                                                  TokenFormat format);

// The same of a file, or of standard input when `path` is "-".
// Errors  also as ErrnoStatus for what cannot be read
absl::StatusOr<std::vector<uint32_t>> ReadTokenFile(const std::string& path,
                                                    TokenFormat format);

}  // namespace kvferry::ctl

#endif  // KVFERRY_TOOLS_KVFERRYCTL_TOKEN_FILE_H_
