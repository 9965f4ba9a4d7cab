#include "tools/kvferry-replay/trace_reader.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "protocol/limits.h"

namespace kvferry::replay {
namespace {

using nlohmann::json;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(what);
}

// Reads the non-negative integer `value`, which `name` names in errors.
absl::Status ReadNumber(const json& value, absl::string_view name,
                        uint64_t* number) {
  if (!value.is_number_unsigned()) {
    return Invalid(absl::StrCat(name, " is ", value.dump().substr(0, 40),
                                ", not an integer from 0 to 2^64 - 1"));
  }
  *number = value.get<uint64_t>();
  return absl::OkStatus();
}

absl::Status ReadMember(const json& object, const char* name,
                        uint64_t* number) {
  const auto member = object.find(name);
  if (member == object.end()) {
    return Invalid(absl::StrCat("\"", name, "\" is missing"));
  }
  return ReadNumber(*member, absl::StrCat("\"", name, "\""), number);
}

absl::Status ReadHashIds(const json& object, std::vector<uint64_t>* ids) {
  const auto member = object.find("hash_ids");
  if (member == object.end()) return Invalid("\"hash_ids\" is missing");
  if (!member->is_array()) {
    return Invalid(absl::StrCat(
        "\"hash_ids\" is ", member->dump().substr(0, 40), ", not an array"));
  }
  if (member->size() > protocol::kKeysPerCallMax) {
    return Invalid(absl::StrCat("\"hash_ids\" has ", member->size(),
                                " members; the limit of one prompt is ",
                                protocol::kKeysPerCallMax));
  }
  ids->reserve(member->size());
  for (const json& element : *member) {
    uint64_t id = 0;
    KVFERRY_RETURN_IF_ERROR(ReadNumber(
        element, absl::StrCat("\"hash_ids\"[", ids->size(), "]"), &id));
    ids->push_back(id);
  }
  return absl::OkStatus();
}

// Traces are published with and without an id for an incomplete last block;
// anything else means blocks of another size.
absl::Status CheckLength(const TraceRequest& request, uint32_t block_tokens) {
  if (request.input_tokens == 0) {
    return Invalid("\"input_length\" is 0: a prompt has at least one token");
  }
  const uint64_t full = request.input_tokens / block_tokens;
  const uint64_t all = full + (request.input_tokens % block_tokens != 0);
  const uint64_t count = request.hash_ids.size();
  if (count < full || count > all) {
    return Invalid(absl::StrCat("\"hash_ids\" has ", count, " members, but ",
                                request.input_tokens, " tokens are ", full,
                                " full blocks of ", block_tokens,
                                all > full ? " and one incomplete" : "",
                                " (--block-tokens names another size)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TraceRequest> ParseTraceLine(absl::string_view line,
                                            uint32_t block_tokens) {
  const json object = json::parse(line.begin(), line.end(), nullptr,
                                  /*allow_exceptions=*/false);
  if (object.is_discarded()) return Invalid("not JSON, or cut off");
  if (!object.is_object()) {
    return Invalid(
        absl::StrCat("a JSON ", object.type_name(), ", not an object"));
  }
  TraceRequest request;
  KVFERRY_RETURN_IF_ERROR(
      ReadMember(object, "timestamp", &request.timestamp_ms));
  KVFERRY_RETURN_IF_ERROR(
      ReadMember(object, "input_length", &request.input_tokens));
  KVFERRY_RETURN_IF_ERROR(
      ReadMember(object, "output_length", &request.output_tokens));
  KVFERRY_RETURN_IF_ERROR(ReadHashIds(object, &request.hash_ids));
  KVFERRY_RETURN_IF_ERROR(CheckLength(request, block_tokens));
  return request;
}

absl::StatusOr<std::vector<TraceRequest>> ReadTrace(
    std::istream& in, const std::string& name,
    const TraceReaderOptions& options) {
  std::vector<TraceRequest> requests;
  std::string line;
  for (uint32_t number = 1;
       requests.size() < options.requests_max && std::getline(in, line);
       ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    absl::StatusOr<TraceRequest> request =
        ParseTraceLine(line, options.block_tokens);
    if (!request.ok()) {
      return WithContext(request.status(), absl::StrCat(name, ":", number));
    }
    request->line = number;
    requests.push_back(*std::move(request));
  }
  if (in.bad()) return absl::InternalError(absl::StrCat(name, ": unreadable"));
  if (requests.empty()) {
    return Invalid(absl::StrCat(name, ": no request in it"));
  }
  std::stable_sort(requests.begin(), requests.end(),
                   [](const TraceRequest& a, const TraceRequest& b) {
                     return a.timestamp_ms < b.timestamp_ms;
                   });
  return requests;
}

absl::StatusOr<std::vector<TraceRequest>> ReadTraceFile(
    const std::string& path, const TraceReaderOptions& options) {
  if (path == "-") return ReadTrace(std::cin, "standard input", options);
  std::ifstream file(path);
  if (!file) return ErrnoStatus(errno, path);
  return ReadTrace(file, path, options);
}

}  // namespace kvferry::replay
