#include "tools/kvferry-bench/floors.h"

#include <fmt/format.h>

#include <fstream>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/support/json.h"

namespace kvferry::bench {
namespace {

constexpr std::string_view kLeastSuffix = "_min";
constexpr std::string_view kMostSuffix = "_max";

using tools::Json;

absl::Status Wrong(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// The name before `suffix`, or nothing when `name` does not end in it.
std::optional<std::string> Before(const std::string& name,
                                  std::string_view suffix) {
  if (name.size() <= suffix.size() ||
      name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0) {
    return std::nullopt;
  }
  return name.substr(0, name.size() - suffix.size());
}

absl::StatusOr<Floor> FloorFrom(const std::string& path, const Json& object) {
  if (!object.is_object()) {
    return Wrong(path, absl::StrCat("not an object: ", object.dump()));
  }
  Floor floor;
  for (const auto& [name, value] : object.items()) {
    const std::optional<std::string> least = Before(name, kLeastSuffix);
    const std::optional<std::string> most = Before(name, kMostSuffix);
    if (least || most) {
      if (!value.is_number()) {
        return Wrong(path, absl::StrCat(name, " is no number"));
      }
      (least ? floor.least : floor.most)[least ? *least : *most] =
          value.get<double>();
    } else if (value.is_boolean()) {
      floor.row[name] = value.get<bool>();
    } else if (value.is_number_integer()) {
      floor.row[name] = value.get<int64_t>();
    } else if (value.is_string()) {
      floor.row[name] = value.get<std::string>();
    } else {
      return Wrong(path, absl::StrCat(name,
                                      " is neither a whole number nor "
                                      "true, false or a text"));
    }
  }
  const auto bench = floor.row.find("bench");
  if (bench == floor.row.end() ||
      !std::holds_alternative<std::string>(bench->second)) {
    return Wrong(path, absl::StrCat("no \"bench\" in ", object.dump()));
  }
  if (floor.least.empty() && floor.most.empty()) {
    return Wrong(path, absl::StrCat("nothing is bounded in ", object.dump()));
  }
  return floor;
}

}  // namespace

const std::string& Floor::bench() const {
  return std::get<std::string>(row.at("bench"));
}

std::string Floor::Label() const {
  std::string label = bench();
  for (const auto& [name, value] : row) {
    if (name != "bench") {
      absl::StrAppend(&label, " ", name, "=", ToJson(value));
    }
  }
  return label;
}

bool Floor::Means(const Row& measured) const {
  for (const auto& [name, value] : row) {
    const std::optional<Value> found = measured.Find(name);
    // An absent flag is a false one.
    if (!found && value == Value(false)) continue;
    if (found != value) return false;
  }
  return true;
}

std::optional<std::string> Floor::ShortfallOf(const Row& measured,
                                              double tolerance) const {
  std::string text;
  const auto add = [&](const std::string& figure, double bound, bool at_least) {
    const std::optional<double> value = measured.FindNumber(figure);
    const bool good = value && (at_least ? *value >= bound * (1 - tolerance)
                                         : *value <= bound * (1 + tolerance));
    if (good) return;
    text += fmt::format(
        "{}{} {} is {} {} (tolerance {:.0f} %)", text.empty() ? "" : ", ",
        figure, value ? ToJson(*value) : "(absent)",
        at_least ? "under" : "over", ToJson(bound), tolerance * 100);
  };
  for (const auto& [figure, bound] : least) add(figure, bound, true);
  for (const auto& [figure, bound] : most) add(figure, bound, false);
  if (text.empty()) return std::nullopt;
  return text;
}

absl::StatusOr<Floors> ReadFloors(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  const Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Wrong(path, "not JSON");
  if (!json.is_object() || !json.contains("tolerance") ||
      !json["tolerance"].is_number() || !json.contains("floors") ||
      !json["floors"].is_array()) {
    return Wrong(path, "not of the form {\"tolerance\": x, \"floors\": [..]}");
  }
  Floors floors;
  floors.tolerance = json["tolerance"].get<double>();
  if (floors.tolerance < 0 || floors.tolerance >= 1) {
    return Wrong(path, absl::StrCat("tolerance ", floors.tolerance,
                                    " is not in [0, 1)"));
  }
  for (const Json& object : json["floors"]) {
    KVFERRY_ASSIGN_OR_RETURN(Floor floor, FloorFrom(path, object));
    floors.floors.push_back(std::move(floor));
  }
  return floors;
}

}  // namespace kvferry::bench
