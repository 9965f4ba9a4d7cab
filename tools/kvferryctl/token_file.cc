#include "tools/kvferryctl/token_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace kvferry::ctl {
namespace {

absl::StatusOr<std::string> ReadAll(int fd, absl::string_view name) {
  std::string content;
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, name);
    if (count == 0) return content;
    content.append(buffer.data(), static_cast<size_t>(count));
  }
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ParseTokens(absl::string_view name,
                                                  absl::string_view content,
                                                  TokenFormat format) {
  std::vector<uint32_t> tokens;
  if (format == TokenFormat::kBytes) {
    for (const char c : content) {
      tokens.push_back(static_cast<unsigned char>(c));
    }
    return tokens;
  }
  size_t line = 1;
  size_t line_start = 0;
  for (size_t at = 0; at < content.size();) {
    if (absl::ascii_isspace(static_cast<unsigned char>(content[at]))) {
      if (content[at] == '\n') {
        ++line;
        line_start = at + 1;
      }
      ++at;
      continue;
    }
    size_t end = at;
    while (end < content.size() &&
           !absl::ascii_isspace(static_cast<unsigned char>(content[end]))) {
      ++end;
    }
    const absl::string_view word = content.substr(at, end - at);
    uint32_t token = 0;
    if (!absl::SimpleAtoi(word, &token)) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ":", line, ":", at - line_start + 1, ": \"",
                       absl::CHexEscape(word.substr(0, 40)),
                       "\" is not a token id from 0 to 4294967295"));
    }
    tokens.push_back(token);
    at = end;
  }
  return tokens;
}

absl::StatusOr<std::vector<uint32_t>> ReadTokenFile(const std::string& path,
                                                    TokenFormat format) {
  if (path == "-") {
    KVFERRY_ASSIGN_OR_RETURN(const std::string content,
                             ReadAll(STDIN_FILENO, "standard input"));
    return ParseTokens("standard input", content, format);
  }
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, path);
  KVFERRY_ASSIGN_OR_RETURN(const std::string content,
                           ReadAll(file.get(), path));
  return ParseTokens(path, content, format);
}

}  // namespace kvferry::ctl
