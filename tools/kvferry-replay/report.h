#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_REPORT_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tools/kvferry-replay/job_channel.h"
#include "tools/kvferry-replay/latency.h"
#include "tools/kvferry-replay/options.h"
#include "tools/support/json.h"

namespace kvferry::replay {

// What a replay came to: the sums over its requests, and their latencies.
class ReplayReport {
 public:
  void Add(const JobResult& result);

  void set_wall_time(absl::Duration wall_time) { wall_time_ = wall_time; }
  // Blocks that the daemon evicted meanwhile; not set when it would not say.
  void set_evicted_blocks(uint64_t blocks) { evicted_blocks_ = blocks; }

  uint64_t requests() const { return requests_; }
  uint64_t mismatched_blocks() const { return mismatched_blocks_; }

  // README.md lists the fields.
  tools::Json ToJson(const ReplayOptions& options) const;
  std::string ToText(const ReplayOptions& options) const;

 private:
  uint64_t requests_ = 0;
  uint64_t blocks_ = 0;
  uint64_t hit_blocks_ = 0;
  uint64_t input_tokens_ = 0;
  uint64_t hit_tokens_ = 0;
  uint64_t read_bytes_ = 0;
  uint64_t written_bytes_ = 0;
  uint64_t written_blocks_ = 0;
  uint64_t existing_blocks_ = 0;
  uint64_t in_flight_blocks_ = 0;
  uint64_t no_space_blocks_ = 0;
  uint64_t void_blocks_ = 0;
  uint64_t revoked_requests_ = 0;
  uint64_t mismatched_blocks_ = 0;
  std::optional<uint64_t> evicted_blocks_;
  absl::Duration wall_time_;
  LatencySamples match_;            // one a request that has blocks
  LatencySamples publish_request_;  // one a request that published
  LatencySamples publish_block_;    // its share for each block it wrote
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_REPORT_H_
