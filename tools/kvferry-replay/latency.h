#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_LATENCY_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_LATENCY_H_

#include <cstdint>
#include <vector>

namespace kvferry::replay {

struct LatencySummary {
  uint64_t count = 0;
  uint64_t p50_ns = 0;
  uint64_t p99_ns = 0;
  uint64_t max_ns = 0;

  friend bool operator==(const LatencySummary&,
                         const LatencySummary&) = default;
};

// Keeps every sample: a trace has some ten thousand requests, and exact
// percentiles need no choice of buckets.
class LatencySamples {
 public:
  // `weight` samples of the same value, for what was measured together.
  void Add(uint64_t ns, uint64_t weight = 1);

  // Percentile p is the smallest sample that at least p % are not above.
  LatencySummary Summarize() const;

 private:
  struct Sample {
    uint64_t ns;
    uint64_t weight;
  };
  std::vector<Sample> samples_;
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_LATENCY_H_
