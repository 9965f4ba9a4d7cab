#include "sdk/examples/llama/example_io.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"

namespace kvferry::llama {
namespace {

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", c);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ReadPrompt(const std::string& path,
                                                 uint32_t token_count_max) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoStatus(errno, absl::StrCat("prompt ", path));
  // One more than is allowed tells a file that is too long from one that fits.
  std::string text(size_t{token_count_max} + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return ErrnoStatus(errno, absl::StrCat("prompt ", path));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt ", path, " is empty"));
  }
  if (text.size() > token_count_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt ", path, " is over the ", token_count_max,
                     " tokens that the context has room for"));
  }
  std::vector<uint32_t> tokens;
  tokens.reserve(text.size());
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

absl::Status WriteText(const std::string& path,
                       std::span<const uint32_t> tokens) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  for (const uint32_t token : tokens) file.put(static_cast<char>(token));
  file.close();
  if (file) return absl::OkStatus();
  return ErrnoStatus(errno == 0 ? EIO : errno, absl::StrCat("text ", path));
}

std::string TextFieldOf(absl::string_view line, absl::string_view name) {
  const std::string start = absl::StrCat(Quoted(name), ":\"");
  const size_t found = line.find(start);
  if (found == absl::string_view::npos) return "";
  const absl::string_view rest = line.substr(found + start.size());
  return std::string(rest.substr(0, rest.find('"')));
}

absl::StatusOr<std::string> ReadTextField(absl::string_view name) {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::string text = TextFieldOf(line, name);
    if (!text.empty()) return text;
  }
  return absl::NotFoundError(
      absl::StrCat("standard input has ended without a \"", name, "\""));
}

void JsonLine::Name(absl::string_view name) {
  if (!fields_.empty()) fields_ += ',';
  absl::StrAppend(&fields_, Quoted(name), ":");
}

JsonLine& JsonLine::Text(absl::string_view name, absl::string_view value) {
  Name(name);
  fields_ += Quoted(value);
  return *this;
}

JsonLine& JsonLine::Count(absl::string_view name, uint64_t value) {
  Name(name);
  absl::StrAppend(&fields_, value);
  return *this;
}

JsonLine& JsonLine::Milliseconds(absl::string_view name, double value) {
  Name(name);
  absl::StrAppendFormat(&fields_, "%.3f", value);
  return *this;
}

JsonLine& JsonLine::Numbers(absl::string_view name,
                            std::span<const uint32_t> values) {
  Name(name);
  fields_ += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    absl::StrAppend(&fields_, i == 0 ? "" : ",", values[i]);
  }
  fields_ += ']';
  return *this;
}

JsonLine& JsonLine::Texts(absl::string_view name,
                          std::span<const std::string> values) {
  Name(name);
  fields_ += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    absl::StrAppend(&fields_, i == 0 ? "" : ",", Quoted(values[i]));
  }
  fields_ += ']';
  return *this;
}

void JsonLine::Print() const {
  std::printf("%s\n", ToString().c_str());
  std::fflush(stdout);
}

void LogitsDigest::Add(std::span<const float> logits) {
  for (const std::byte byte : std::as_bytes(logits)) {
    state_ = (state_ ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  }
}

std::string LogitsDigest::ToHex() const {
  return absl::StrFormat("%016x", state_);
}

}  // namespace kvferry::llama
