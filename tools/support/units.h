#ifndef KVFERRY_TOOLS_SUPPORT_UNITS_H_
#define KVFERRY_TOOLS_SUPPORT_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace kvferry::tools {

// "0 B", "4 KiB", "1.25 GiB": three significant digits, powers of 1,024.
std::string BytesText(uint64_t bytes);

// "312 ns", "4.17 us", "2.35 s", "3 min 07 s", "2 h 03 min", "4 d 01 h".
std::string DurationText(absl::Duration duration);

// "12,031".
std::string CountText(uint64_t count);

// "36.6 %", or "-" of nothing.
std::string PercentText(uint64_t part, uint64_t whole);

// "4096", "4KiB", "4 k", "1.5GiB": B, K, M, G and T, with or without iB, are
// powers of 1,024.
// Errors  kInvalidArgument  anything else, also KB and the like (1,000 or
//                           1,024?), a fraction of a byte, 2^63 or more
absl::StatusOr<uint64_t> ParseBytes(absl::string_view text);

// "5", "0.5" (seconds), "500ms", "2m".
// Errors  kInvalidArgument  anything else, zero, negative or infinite ones
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

}  // namespace kvferry::tools

#endif  // KVFERRY_TOOLS_SUPPORT_UNITS_H_
