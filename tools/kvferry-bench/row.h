#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_ROW_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_ROW_H_

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kvferry::bench {

using Value = std::variant<bool, int64_t, double, std::string>;

// A value as JSON has it. A double keeps four significant digits, which is
// more than any of these measurements is worth.
std::string ToJson(const Value& value);

// One measurement: what was measured (the benchmark's name and its
// parameters), then the figures, in the order they were set.
class Row {
 public:
  explicit Row(std::string bench) : bench_(std::move(bench)) {}

  template <typename T>
  Row& Param(std::string name, T value) {
    params_.emplace_back(std::move(name), Convert(std::move(value)));
    return *this;
  }
  template <typename T>
  Row& Figure(std::string name, T value) {
    figures_.emplace_back(std::move(name), Convert(std::move(value)));
    return *this;
  }

  // Sets `gb_per_s`, `limit_gb_per_s`, `limit` and `ratio`.
  Row& Rate(double gb_per_s, double limit_gb_per_s, std::string limit);
  // Sets `p50_ns` and `p99_ns`.
  Row& Latency(double p50_ns, double p99_ns);
  // Sets `limit_ns`, `limit` and `ratio`, which is limit_ns / p50_ns.
  Row& LatencyLimit(double p50_ns, double limit_ns, std::string limit);

  const std::string& bench() const { return bench_; }
  // A parameter or figure; `bench` is one.
  std::optional<Value> Find(std::string_view name) const;
  std::optional<double> FindNumber(std::string_view name) const;

  // A flat object on one line.
  std::string Json() const;
  // The benchmark and its parameters, "match batch=64 hot".
  std::string Label() const;
  // A line below TableHeader().
  std::string TableLine() const;
  static std::string TableHeader();

 private:
  using Field = std::pair<std::string, Value>;

  template <typename T>
  static Value Convert(T value) {
    if constexpr (std::same_as<T, bool>) {
      return value;
    } else if constexpr (std::integral<T>) {
      return static_cast<int64_t>(value);
    } else if constexpr (std::floating_point<T>) {
      return static_cast<double>(value);
    } else {
      return std::string(std::move(value));
    }
  }

  std::string bench_;
  std::vector<Field> params_;
  std::vector<Field> figures_;
};

// Where benchmarks put their rows.
class RowSink {
 public:
  enum class Form { kJson, kTable };
  explicit RowSink(Form form) : form_(form) {}

  // Prints the row on standard output at once, and keeps it.
  void Add(Row row);
  const std::vector<Row>& rows() const { return rows_; }

 private:
  const Form form_;
  std::vector<Row> rows_;
};

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_ROW_H_
