#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_TRACE_READER_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_TRACE_READER_H_

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvferry::replay {

// One line of a trace.
struct TraceRequest {
  uint32_t line = 0;  // in its file, from 1
  uint64_t timestamp_ms = 0;
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;
  // One a block of the prompt, in order. Equal ids are equal blocks after
  // equal prefixes. The last may stand for fewer tokens than a block holds.
  std::vector<uint64_t> hash_ids;
};

struct TraceReaderOptions {
  uint32_t block_tokens = 512;  // that one hash id stands for
  uint64_t requests_max = UINT64_MAX;
};

// Parses one line: a JSON object with `timestamp` (ms), `input_length`,
// `output_length` and `hash_ids`, non-negative integers all; other members are
// ignored.
//
// Errors  kInvalidArgument  no JSON, a member missing or of another type, no
//                           token, more hash ids than tokens can fill or fewer
//                           than there are full blocks, more than Match takes
absl::StatusOr<TraceRequest> ParseTraceLine(absl::string_view line,
                                            uint32_t block_tokens);

// Reads a whole trace, in the order of its timestamps; empty lines are
// skipped. `name` is what errors call it.
//
// Errors  kInvalidArgument  as above, each with `name:line:` in front; a trace
//                           without a request
//         kInternal         it cannot be read
absl::StatusOr<std::vector<TraceRequest>> ReadTrace(
    std::istream& in, const std::string& name,
    const TraceReaderOptions& options);

// The same of a file, or of standard input when `path` is "-".
// Errors  also as ErrnoStatus for what cannot be opened
absl::StatusOr<std::vector<TraceRequest>> ReadTraceFile(
    const std::string& path, const TraceReaderOptions& options);

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_TRACE_READER_H_
