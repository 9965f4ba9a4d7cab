#include "tools/kvferryctl/group_option.h"

#include <array>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace kvferry::ctl {
namespace {

using NumberField = std::pair<absl::string_view, uint32_t GroupSpec::*>;

constexpr std::array<NumberField, 6> kNumberFields = {{
    {"tokens", &GroupSpec::block_tokens},
    {"layers", &GroupSpec::layer_count},
    {"kv", &GroupSpec::kv_count},
    {"heads", &GroupSpec::head_count},
    {"head-bytes", &GroupSpec::head_bytes},
    {"slices", &GroupSpec::slice_count},
}};

absl::Status ParsePositive(absl::string_view field, absl::string_view text,
                           uint32_t* number) {
  uint32_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        field, " is \"", text, "\", not a number from 1 to 4294967295"));
  }
  *number = value;
  return absl::OkStatus();
}

absl::Status ParseRule(absl::string_view text, GroupSpec* group) {
  if (text == "all") {
    group->rule = HitRule::kAllPrefix;
  } else if (text == "checkpoint") {
    group->rule = HitRule::kCheckpoint;
  } else if (absl::ConsumePrefix(&text, "trailing:")) {
    group->rule = HitRule::kTrailing;
    return ParsePositive("rule=trailing", text, &group->trailing_blocks);
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "rule is \"", text, "\", not all, trailing:BLOCKS or checkpoint"));
  }
  return absl::OkStatus();
}

absl::Status ParseField(absl::string_view name, absl::string_view value,
                        GroupSpec* group) {
  if (name == "name") {
    group->name = std::string(value);
    return absl::OkStatus();
  }
  if (name == "rule") return ParseRule(value, group);
  for (const auto& [field, member] : kNumberFields) {
    if (field == name) return ParsePositive(name, value, &(group->*member));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown field \"", name,
      "\"; known are name, tokens, layers, kv, heads, head-bytes, slices and "
      "rule"));
}

}  // namespace

absl::StatusOr<GroupSpec> ParseGroup(absl::string_view text) {
  GroupSpec group;
  std::set<absl::string_view> seen;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (!seen.insert(field.first).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "group \"", text, "\": ", field.first, " is given twice"));
    }
    const absl::Status status = ParseField(field.first, field.second, &group);
    if (!status.ok()) {
      return WithContext(status, absl::StrCat("group \"", text, "\""));
    }
  }
  if (group.head_bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("group \"", text,
                     "\": head-bytes is missing (head dimension times the "
                     "size of an element)"));
  }
  return group;
}

std::string RuleText(const GroupSpec& group) {
  switch (group.rule) {
    case HitRule::kAllPrefix:
      return "all prefix";
    case HitRule::kTrailing:
      return absl::StrCat("trailing ", group.trailing_blocks);
    case HitRule::kCheckpoint:
      return "checkpoint";
  }
  return "unknown";
}

}  // namespace kvferry::ctl
