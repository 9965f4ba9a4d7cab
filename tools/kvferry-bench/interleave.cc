#include "tools/kvferry-bench/interleave.h"

#include <cstddef>
#include <utility>

#include "base/status.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {

absl::StatusOr<std::vector<ContestantTimes>> Interleave(
    const std::vector<Contestant>& contestants, uint32_t rounds) {
  std::vector<ContestantTimes> times;
  for (const Contestant& contestant : contestants) {
    times.push_back({contestant.name, {}, 0});
  }
  for (uint32_t round = 0; round <= rounds; ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      const size_t turn = (i + round) % contestants.size();
      absl::StatusOr<double> taken_ns = contestants[turn].run();
      if (!taken_ns.ok()) {
        return WithContext(taken_ns.status(), contestants[turn].name);
      }
      if (round > 0) times[turn].round_ns.push_back(*taken_ns);
    }
  }
  for (ContestantTimes& one : times) one.median_ns = Median(one.round_ns);
  return times;
}

}  // namespace kvferry::bench
