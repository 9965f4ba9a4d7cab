#include "tools/kvferry-bench/row.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdio>

namespace kvferry::bench {
namespace {

// Figures with a column of their own in the table.
constexpr std::array<std::string_view, 8> kColumns = {
    "p50_ns",         "p99_ns", "gb_per_s", "limit_ns",
    "limit_gb_per_s", "ratio",  "limit",    "bench"};

bool HasColumn(std::string_view name) {
  for (std::string_view column : kColumns) {
    if (name == column) return true;
  }
  return false;
}

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string JsonNumber(double value) {
  if (!std::isfinite(value)) return "null";
  // Four significant digits, without an exponent.
  const int digits_before =
      value == 0
          ? 1
          : static_cast<int>(std::floor(std::log10(std::fabs(value)))) + 1;
  const int decimals = digits_before >= 4 ? 0 : 4 - digits_before;
  return fmt::format("{:.{}f}", value, decimals > 9 ? 9 : decimals);
}

// Nanoseconds in the unit a reader wants.
std::string Time(std::optional<double> ns) {
  if (!ns) return "";
  if (*ns < 1e3) return fmt::format("{:.1f} ns", *ns);
  if (*ns < 1e6) return fmt::format("{:.2f} us", *ns / 1e3);
  return fmt::format("{:.2f} ms", *ns / 1e6);
}

std::string Rate(std::optional<double> gb_per_s) {
  return gb_per_s ? fmt::format("{:.2f} GB/s", *gb_per_s) : "";
}

std::string Plain(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return ToJson(value);
}

constexpr std::string_view kLine =
    "{:<46} {:>10} {:>10} {:>12} {:>12} {:>6}  {}\n";

}  // namespace

std::string ToJson(const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) {
    return *flag ? "true" : "false";
  }
  if (const auto* number = std::get_if<int64_t>(&value)) {
    return std::to_string(*number);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    return JsonNumber(*number);
  }
  return JsonString(std::get<std::string>(value));
}

Row& Row::Rate(double gb_per_s, double limit_gb_per_s, std::string limit) {
  return Figure("gb_per_s", gb_per_s)
      .Figure("limit_gb_per_s", limit_gb_per_s)
      .Figure("limit", std::move(limit))
      .Figure("ratio", gb_per_s / limit_gb_per_s);
}

Row& Row::Latency(double p50_ns, double p99_ns) {
  return Figure("p50_ns", p50_ns).Figure("p99_ns", p99_ns);
}

Row& Row::LatencyLimit(double p50_ns, double limit_ns, std::string limit) {
  return Figure("limit_ns", limit_ns)
      .Figure("limit", std::move(limit))
      .Figure("ratio", limit_ns / p50_ns);
}

std::optional<Value> Row::Find(std::string_view name) const {
  if (name == "bench") return bench_;
  for (const auto* fields : {&params_, &figures_}) {
    for (const Field& field : *fields) {
      if (field.first == name) return field.second;
    }
  }
  return std::nullopt;
}

std::optional<double> Row::FindNumber(std::string_view name) const {
  const std::optional<Value> value = Find(name);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(&*value)) {
    return static_cast<double>(*number);
  }
  if (const auto* number = std::get_if<double>(&*value)) return *number;
  return std::nullopt;
}

std::string Row::Json() const {
  std::string out = "{\"bench\":" + JsonString(bench_);
  for (const auto* fields : {&params_, &figures_}) {
    for (const Field& field : *fields) {
      out += ',' + JsonString(field.first) + ':' + ToJson(field.second);
    }
  }
  return out + '}';
}

std::string Row::Label() const {
  std::string out = bench_;
  for (const Field& field : params_) {
    if (const auto* flag = std::get_if<bool>(&field.second)) {
      if (*flag) out += ' ' + field.first;
    } else {
      out += fmt::format(" {}={}", field.first, Plain(field.second));
    }
  }
  return out;
}

std::string Row::TableHeader() {
  return fmt::format(fmt::runtime(kLine), "benchmark", "p50", "p99", "rate",
                     "limit", "ratio", "");
}

std::string Row::TableLine() const {
  std::string more;
  if (const std::optional<Value> limit = Find("limit")) more = Plain(*limit);
  for (const Field& field : figures_) {
    if (HasColumn(field.first)) continue;
    more += fmt::format("{}{} {}", more.empty() ? "" : "; ", field.first,
                        Plain(field.second));
  }
  const std::optional<double> ratio = FindNumber("ratio");
  const std::optional<double> limit_ns = FindNumber("limit_ns");
  return fmt::format(
      fmt::runtime(kLine), Label(), Time(FindNumber("p50_ns")),
      Time(FindNumber("p99_ns")), bench::Rate(FindNumber("gb_per_s")),
      limit_ns ? Time(limit_ns) : bench::Rate(FindNumber("limit_gb_per_s")),
      ratio ? fmt::format("{:.2f}", *ratio) : "", more);
}

void RowSink::Add(Row row) {
  if (form_ == Form::kJson) {
    std::puts(row.Json().c_str());
  } else if (form_ == Form::kTable) {
    if (rows_.empty()) std::fputs(Row::TableHeader().c_str(), stdout);
    std::fputs(row.TableLine().c_str(), stdout);
  }
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

}  // namespace kvferry::bench
