#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_EXAMPLE_IO_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_EXAMPLE_IO_H_

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry::llama {

// The bytes of a file as tokens.
// Errors  kNotFound and the like  it cannot be read
//         kInvalidArgument        empty, or more than `token_count_max` bytes
absl::StatusOr<std::vector<uint32_t>> ReadPrompt(const std::string& path,
                                                 uint32_t token_count_max);

// Writes tokens as the bytes they are.
// Errors  those of ErrnoStatus
absl::Status WriteText(const std::string& path,
                       std::span<const uint32_t> tokens);

// The text of field `name` of the first line of standard input that has it, as
// JsonLine writes it; nothing of the rest is read.
// Errors  kNotFound  the input ends without it
absl::StatusOr<std::string> ReadTextField(absl::string_view name);
// The same of one line; empty when it has none.
std::string TextFieldOf(absl::string_view line, absl::string_view name);

// One JSON object on one line, its fields in the order of the calls.
class JsonLine {
 public:
  JsonLine& Text(absl::string_view name, absl::string_view value);
  JsonLine& Count(absl::string_view name, uint64_t value);
  JsonLine& Milliseconds(absl::string_view name, double value);
  JsonLine& Numbers(absl::string_view name, std::span<const uint32_t> values);
  JsonLine& Texts(absl::string_view name, std::span<const std::string> values);

  // Writes the object and a newline to standard output.
  void Print() const;
  std::string ToString() const { return "{" + fields_ + "}"; }

 private:
  void Name(absl::string_view name);

  std::string fields_;
};

// FNV-1a over the bits of every logit it is given: two runs with the same
// digest computed the same numbers, not only the same tokens.
class LogitsDigest {
 public:
  LogitsDigest() = default;
  // Goes on where another one was.
  explicit LogitsDigest(uint64_t state) : state_(state) {}

  uint64_t state() const { return state_; }
  void Add(std::span<const float> logits);
  std::string ToHex() const;

 private:
  uint64_t state_ = 0xcbf29ce484222325u;
};

// Milliseconds since it was made.
class Stopwatch {
 public:
  double elapsed_ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - start_)
        .count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_EXAMPLE_IO_H_
