#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_FLOORS_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_FLOORS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/kvferry-bench/row.h"

namespace kvferry::bench {

// What one row has to reach. In the file (README.md) it is a flat object: a
// member that ends in _min or _max bounds the figure of the name before, every
// other member says which row is meant.
struct Floor {
  std::map<std::string, Value> row;
  std::map<std::string, double> least;  // figure to its lowest value
  std::map<std::string, double> most;   // figure to its highest value

  const std::string& bench() const;
  std::string Label() const;
  bool Means(const Row& measured) const;
  // What falls short, "ratio 0.71 is under 0.9 (tolerance 3 %)"; nullopt: none
  // does.
  std::optional<std::string> ShortfallOf(const Row& measured,
                                         double tolerance) const;
};

struct Floors {
  // The share by which a figure may miss its bound and still pass.
  double tolerance = 0;
  std::vector<Floor> floors;
};

// Errors  kNotFound         no such file
//         kInvalidArgument  not of that form; the message says where
absl::StatusOr<Floors> ReadFloors(const std::string& path);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_FLOORS_H_
