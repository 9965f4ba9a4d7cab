#include "tools/kvferry-replay/latency.h"

#include <algorithm>

namespace kvferry::replay {

void LatencySamples::Add(uint64_t ns, uint64_t weight) {
  if (weight > 0) samples_.push_back({ns, weight});
}

LatencySummary LatencySamples::Summarize() const {
  LatencySummary summary;
  if (samples_.empty()) return summary;
  std::vector<Sample> sorted = samples_;
  std::sort(sorted.begin(), sorted.end(),
            [](const Sample& a, const Sample& b) { return a.ns < b.ns; });
  for (const Sample& sample : sorted) summary.count += sample.weight;
  summary.max_ns = sorted.back().ns;

  // How many samples percentile 50 and 99 must not be below, rounded up.
  const uint64_t rank50 = (summary.count * 50 + 99) / 100;
  const uint64_t rank99 = (summary.count * 99 + 99) / 100;
  uint64_t before = 0;
  for (const Sample& sample : sorted) {
    const uint64_t after = before + sample.weight;
    if (before < rank50 && rank50 <= after) summary.p50_ns = sample.ns;
    if (before < rank99 && rank99 <= after) summary.p99_ns = sample.ns;
    before = after;
  }
  return summary;
}

}  // namespace kvferry::replay
