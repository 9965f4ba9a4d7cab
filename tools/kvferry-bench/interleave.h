#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_INTERLEAVE_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_INTERLEAVE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvferry::bench {

// One of several ways to do the same work.
struct Contestant {
  std::string name;
  // Does the work of one round once and returns the nanoseconds it took by its
  // own clock, which leaves out what it has to prepare.
  std::function<absl::StatusOr<double>()> run;
};

struct ContestantTimes {
  std::string name;
  std::vector<double> round_ns;  // without the first round
  double median_ns = 0;
};

// Lets every contestant work once a round, for one round that is thrown away
// (first touches, cold caches) and `rounds` that count. Each round begins with
// another contestant, so that none always follows the same.
//
// What a machine does to one of them it does to all: compare medians of one
// call only.
// Errors  the first of a contestant, its name in front
absl::StatusOr<std::vector<ContestantTimes>> Interleave(
    const std::vector<Contestant>& contestants, uint32_t rounds);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_INTERLEAVE_H_
