#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_STATISTICS_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_STATISTICS_H_

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvferry::bench {

// CLOCK_MONOTONIC, the same in every process of the machine. Reading it costs
// about 20 ns: what is shorter than a microsecond is timed in groups.
inline uint64_t NowNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<uint64_t>(now.tv_nsec);
}

// The sample below which the fraction `share` of all lies; 0 for none.
inline double Quantile(std::vector<double> samples, double share) {
  if (samples.empty()) return 0;
  const auto rank = static_cast<size_t>(
      share * static_cast<double>(samples.size() - 1) + 0.5);
  const auto nth = samples.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(samples.begin(), nth, samples.end());
  return *nth;
}

inline double Median(const std::vector<double>& samples) {
  return Quantile(samples, 0.5);
}

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_STATISTICS_H_
