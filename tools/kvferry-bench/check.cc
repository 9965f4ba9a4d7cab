#include "tools/kvferry-bench/check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"

namespace kvferry::bench {
namespace {

// How often a row may fall short before it counts.
constexpr int kAttempts = 3;

void Say(const std::string& line) {
  std::fprintf(stderr, "%s\n", line.c_str());
}

// A floor's `bench` may be a second name of a benchmark's rows:
// "memory-overhead" comes from "memory".
bool Yields(const Bench& bench, const Floor& floor) {
  const std::string& name = floor.bench();
  return name == bench.name ||
         (bench.name == "memory" && name == "memory-overhead");
}

// The rows that the floor means: of those with one label the last, since a
// later one was measured again.
std::vector<const Row*> FindRows(const std::vector<Row>& rows,
                                 const Floor& floor) {
  std::map<std::string, const Row*> found;
  for (const Row& row : rows) {
    if (floor.Means(row)) found[row.Label()] = &row;
  }
  std::vector<const Row*> latest;
  for (const auto& [label, row] : found) latest.push_back(row);
  return latest;
}

// What an emulated device takes says nothing of a GPU's.
bool IsEmulated(const Row& row) {
  return row.Find("emulated") == std::optional<Value>(true);
}

std::vector<const Floor*> FloorsOf(const std::vector<Bench>& benches,
                                   const Floors& floors) {
  std::vector<const Floor*> chosen;
  for (const Floor& floor : floors.floors) {
    for (const Bench& bench : benches) {
      if (Yields(bench, floor)) chosen.push_back(&floor);
    }
  }
  return chosen;
}

std::string Shortfall(const std::vector<Row>& rows, const Floor& floor,
                      double tolerance) {
  const std::vector<const Row*> found = FindRows(rows, floor);
  if (found.empty()) return "no such row was measured";
  std::string text;
  for (const Row* row : found) {
    if (IsEmulated(*row)) continue;
    const std::optional<std::string> what = floor.ShortfallOf(*row, tolerance);
    if (!what) continue;
    absl::StrAppend(&text, text.empty() ? "" : "; ",
                    found.size() > 1 ? row->Label() + ": " : "", *what);
  }
  return text;
}

void SayWhatIsNotCompared(const std::vector<Row>& rows) {
  const auto count = std::count_if(rows.begin(), rows.end(), IsEmulated);
  if (count == 0) return;
  Say(absl::StrCat("check: ", count,
                   " rows are of the emulated device: they are there, and "
                   "compared with nothing"));
}

}  // namespace

absl::Status RunBenches(const std::vector<Bench>& benches,
                        const BenchOptions& options, RowSink* sink) {
  absl::Status first;
  for (const Bench& bench : benches) {
    const AffinityRestorer restorer;
    absl::Status status = bench.run(options, sink);
    if (status.ok()) continue;
    status = WithContext(status, std::string(bench.name));
    Say(status.ToString());
    if (first.ok()) first = std::move(status);
  }
  return first;
}

absl::Status CheckFloors(const std::vector<Bench>& benches,
                         const BenchOptions& options, const Floors& floors,
                         RowSink* sink) {
  const absl::Status ran = RunBenches(benches, options, sink);
  std::vector<const Floor*> open = FloorsOf(benches, floors);
  const size_t floor_count = open.size();
  for (int attempt = 1;; ++attempt) {
    std::vector<const Floor*> failing;
    for (const Floor* floor : open) {
      const std::string what =
          Shortfall(sink->rows(), *floor, floors.tolerance);
      if (what.empty()) continue;
      failing.push_back(floor);
      Say(absl::StrCat("check: ", floor->Label(), ": ", what,
                       attempt < kAttempts ? "; measuring again" : ""));
    }
    open = std::move(failing);
    if (open.empty() || attempt == kAttempts) break;
    std::vector<Bench> again;
    for (const Bench& bench : benches) {
      for (const Floor* floor : open) {
        if (Yields(bench, *floor)) {
          again.push_back(bench);
          break;
        }
      }
    }
    // What goes wrong here was said, and leaves its rows falling short.
    (void)RunBenches(again, options, sink);
  }
  SayWhatIsNotCompared(sink->rows());
  if (!open.empty()) {
    std::string names;
    for (const Floor* floor : open) {
      absl::StrAppend(&names, names.empty() ? "" : "; ", floor->Label());
    }
    return absl::FailedPreconditionError(absl::StrCat(
        open.size(), " of ", floor_count, " rows fall short: ", names));
  }
  Say(absl::StrCat("check: ", floor_count, " rows reach their floors"));
  return ran;
}

absl::Status CheckFunction(const std::vector<Bench>& benches,
                           const BenchOptions& options, const Floors& floors,
                           RowSink* sink) {
  KVFERRY_RETURN_IF_ERROR(RunBenches(benches, options, sink));
  for (const Floor* floor : FloorsOf(benches, floors)) {
    if (FindRows(sink->rows(), *floor).empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("no row ", floor->Label()));
    }
  }
  for (const Row& row : sink->rows()) {
    bool measured = false;
    for (const char* name : {"p50_ns", "p99_ns", "gb_per_s", "ratio",
                             "overhead_bytes_per_block", "cpu_percent"}) {
      const std::optional<double> value = row.FindNumber(name);
      if (!value) continue;
      measured = true;
      if (!std::isfinite(*value) || *value <= 0) {
        return absl::FailedPreconditionError(
            absl::StrCat(row.Label(), ": ", name, " is ", *value));
      }
    }
    if (!measured) {
      return absl::FailedPreconditionError(
          absl::StrCat(row.Label(), ": nothing was measured"));
    }
  }
  Say(absl::StrCat("smoke: ", sink->rows().size(), " rows are there"));
  return absl::OkStatus();
}

}  // namespace kvferry::bench
