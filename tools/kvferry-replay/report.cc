#include "tools/kvferry-replay/report.h"

#include "absl/strings/str_cat.h"
#include "tools/support/table.h"
#include "tools/support/units.h"

namespace kvferry::replay {
namespace {

using tools::BytesText;
using tools::CountText;
using tools::Json;
using tools::PercentText;

double Ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0
                    : static_cast<double>(part) / static_cast<double>(whole);
}

std::string Ns(uint64_t ns) {
  return tools::DurationText(absl::Nanoseconds(static_cast<int64_t>(ns)));
}

std::string LatencyText(const LatencySummary& summary) {
  if (summary.count == 0) return "none";
  return absl::StrCat("p50 ", Ns(summary.p50_ns), ", p99 ", Ns(summary.p99_ns),
                      ", max ", Ns(summary.max_ns));
}

void AddLatency(const std::string& name, const LatencySummary& summary,
                Json* json) {
  (*json)[name + "_p50_ns"] = summary.p50_ns;
  (*json)[name + "_p99_ns"] = summary.p99_ns;
  (*json)[name + "_max_ns"] = summary.max_ns;
}

}  // namespace

void ReplayReport::Add(const JobResult& result) {
  ++requests_;
  blocks_ += result.blocks;
  hit_blocks_ += result.hit_blocks;
  input_tokens_ += result.input_tokens;
  hit_tokens_ += result.hit_tokens;
  read_bytes_ += result.read_bytes;
  written_bytes_ += result.written_bytes;
  written_blocks_ += result.written_blocks;
  existing_blocks_ += result.existing_blocks;
  in_flight_blocks_ += result.in_flight_blocks;
  no_space_blocks_ += result.no_space_blocks;
  void_blocks_ += result.void_blocks;
  revoked_requests_ += result.revoked;
  mismatched_blocks_ += result.mismatched_blocks;
  if (result.blocks > 0) match_.Add(result.match_ns);
  if (result.publish_ns > 0) publish_request_.Add(result.publish_ns);
  if (result.written_blocks > 0) {
    publish_block_.Add(result.publish_ns / result.written_blocks,
                       result.written_blocks);
  }
}

Json ReplayReport::ToJson(const ReplayOptions& options) const {
  Json json;
  json["trace"] = options.trace_path;
  json["workers"] = options.worker_count;
  json["page_bytes"] = options.page_bytes;
  json["block_tokens"] = options.block_tokens;
  // Of a daemon that was there before, the pool is not ours to name.
  json["pool_bytes"] =
      options.socket.empty() ? Json(options.pool_bytes) : Json(nullptr);
  json["seed"] = options.seed;
  json["requests"] = requests_;
  json["wall_ms"] = tools::JsonMs(wall_time_);
  json["blocks"] = blocks_;
  json["hit_blocks"] = hit_blocks_;
  json["hit_rate_blocks"] = Ratio(hit_blocks_, blocks_);
  json["input_tokens"] = input_tokens_;
  json["hit_tokens"] = hit_tokens_;
  json["hit_rate_tokens"] = Ratio(hit_tokens_, input_tokens_);
  json["read_bytes"] = read_bytes_;
  json["written_bytes"] = written_bytes_;
  json["written_blocks"] = written_blocks_;
  json["existing_blocks"] = existing_blocks_;
  json["in_flight_blocks"] = in_flight_blocks_;
  json["no_space_blocks"] = no_space_blocks_;
  json["void_blocks"] = void_blocks_;
  json["evicted_blocks"] =
      evicted_blocks_ ? Json(*evicted_blocks_) : Json(nullptr);
  json["revoked_requests"] = revoked_requests_;
  json["mismatched_blocks"] = mismatched_blocks_;
  AddLatency("match", match_.Summarize(), &json);
  AddLatency("publish_request", publish_request_.Summarize(), &json);
  AddLatency("publish_block", publish_block_.Summarize(), &json);
  return json;
}

std::string ReplayReport::ToText(const ReplayOptions& options) const {
  const double seconds = absl::ToDoubleSeconds(wall_time_);
  const double rate =
      seconds > 0 ? static_cast<double>(requests_) / seconds : 0;
  tools::Properties table;
  table.Add(
      "requests",
      absl::StrCat(CountText(requests_), " by ", options.worker_count,
                   " processes in ", tools::DurationText(wall_time_), ", ",
                   CountText(static_cast<uint64_t>(rate)), " a second"));
  table.Add("hit rate",
            absl::StrCat(PercentText(hit_blocks_, blocks_), " of ",
                         CountText(blocks_), " blocks, ",
                         PercentText(hit_tokens_, input_tokens_), " of ",
                         CountText(input_tokens_), " tokens"));
  table.Add("read",
            absl::StrCat(BytesText(read_bytes_), " in ", CountText(hit_blocks_),
                         " pages, every byte checked"));
  table.Add("mismatches",
            absl::StrCat(CountText(mismatched_blocks_), " pages"));
  table.Add("written", absl::StrCat(BytesText(written_bytes_), " in ",
                                    CountText(written_blocks_), " pages of ",
                                    BytesText(options.page_bytes)));
  table.Add(
      "not written",
      absl::StrCat(CountText(existing_blocks_), " came meanwhile, ",
                   CountText(in_flight_blocks_), " being written by another, ",
                   CountText(no_space_blocks_), " without space, ",
                   CountText(void_blocks_), " void"));
  table.Add("evicted", evicted_blocks_
                           ? CountText(*evicted_blocks_) + " blocks"
                           : "unknown: the daemon answers only its own user");
  table.Add("revoked", CountText(revoked_requests_) + " hits");
  table.Add("match", LatencyText(match_.Summarize()));
  table.Add("publish", LatencyText(publish_request_.Summarize()) +
                           " a request, until visible");
  table.Add("", LatencyText(publish_block_.Summarize()) + " a block");
  return table.Render();
}

}  // namespace kvferry::replay
