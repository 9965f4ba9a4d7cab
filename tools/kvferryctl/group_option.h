#ifndef KVFERRY_TOOLS_KVFERRYCTL_GROUP_OPTION_H_
#define KVFERRY_TOOLS_KVFERRYCTL_GROUP_OPTION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kvferry/layout.h"

namespace kvferry::ctl {

// Reads a group as the command line gives it: fields `name=value` between
// commas, in any order, those left out as in GroupSpec:
//
//   name=full,tokens=16,layers=32,kv=2,heads=8,head-bytes=256,slices=1,
//   rule=all | trailing:BLOCKS | checkpoint
//
// Errors  kInvalidArgument  an unknown or repeated field, a value that is no
//                           positive number, an unknown rule, no head-bytes.
//                           The daemon checks the limits.
absl::StatusOr<GroupSpec> ParseGroup(absl::string_view text);

// "all prefix", "trailing 4", "checkpoint".
std::string RuleText(const GroupSpec& group);

}  // namespace kvferry::ctl

#endif  // KVFERRY_TOOLS_KVFERRYCTL_GROUP_OPTION_H_
