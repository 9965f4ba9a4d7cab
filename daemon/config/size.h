#ifndef KVFERRY_DAEMON_CONFIG_SIZE_H_
#define KVFERRY_DAEMON_CONFIG_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry::config {

inline constexpr char kSizeSyntax[] =
    "a number with B, KiB, MiB, GiB or TiB (\"1.5GiB\"), or a share of the "
    "machine's memory (\"25%\")";

// Reads a size: "64MiB", "1.5 GiB", "25%" (of `memory_bytes`); digits alone
// are bytes.
// Errors  kInvalidArgument  not a size, or over 2^63 - 1 bytes; without the
//                           value, which the caller names
absl::StatusOr<uint64_t> ParseSize(absl::string_view text,
                                   uint64_t memory_bytes);

// The shortest exact text: "8GiB", "1536MiB", "4097B".
std::string FormatSize(uint64_t bytes);

// Memory of this machine that the daemon may count on: what the kernel
// manages, or the control group's limit when that is lower.
uint64_t MemoryOfThisMachine();

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_SIZE_H_
