#include "sdk/c_api/spec_conversion.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "protocol/limits.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/sized_structs.h"

namespace kvferry::c_api {
namespace {

static_assert(KVF_HIT_ALL_PREFIX == static_cast<int>(HitRule::kAllPrefix));
static_assert(KVF_HIT_TRAILING == static_cast<int>(HitRule::kTrailing));
static_assert(KVF_HIT_CHECKPOINT == static_cast<int>(HitRule::kCheckpoint));

absl::StatusOr<GroupSpec> FromC(const kvf_group_spec& spec) {
  if (spec.rule > KVF_HIT_CHECKPOINT) {
    return absl::InvalidArgumentError(
        absl::StrCat("kvf_group_spec.rule is ", spec.rule, ", must be 0 to ",
                     static_cast<int>(KVF_HIT_CHECKPOINT)));
  }
  GroupSpec group;
  group.name = std::string(TextOrEmpty(spec.name));
  group.block_tokens = spec.block_tokens;
  group.layer_count = spec.layer_count;
  group.kv_count = spec.kv_count;
  group.head_count = spec.head_count;
  group.head_bytes = spec.head_bytes;
  group.slice_count = spec.slice_count;
  group.rule = static_cast<HitRule>(spec.rule);
  group.trailing_blocks = spec.trailing_blocks;
  return group;
}

}  // namespace

absl::StatusOr<GroupSpec> ToGroupSpec(const kvf_group_spec* spec) {
  kvf_group_spec read = {};
  KVFERRY_RETURN_IF_ERROR(ReadSized(spec, &read));
  return FromC(read);
}

absl::StatusOr<NamespaceSpec> ToNamedSpec(const kvf_namespace_spec* spec) {
  kvf_namespace_spec read = {};
  KVFERRY_RETURN_IF_ERROR(ReadSized(spec, &read));
  NamespaceSpec result;
  result.name = std::string(TextOrEmpty(read.name));
  return result;
}

absl::StatusOr<NamespaceSpec> ToNamespaceSpec(const kvf_namespace_spec* spec) {
  kvf_namespace_spec read = {};
  KVFERRY_RETURN_IF_ERROR(ReadSized(spec, &read));
  KVFERRY_RETURN_IF_ERROR(
      NotNull(read.groups, read.group_count, "kvf_namespace_spec.groups"));
  // Before the array is walked: its length is the caller's word.
  if (read.group_count > protocol::kGroupsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("kvf_namespace_spec.group_count is ", read.group_count,
                     ", must be 1 to ", protocol::kGroupsMax));
  }
  NamespaceSpec result;
  result.name = std::string(TextOrEmpty(read.name));
  result.model = std::string(TextOrEmpty(read.model));
  result.revision = std::string(TextOrEmpty(read.revision));
  result.dtype = std::string(TextOrEmpty(read.dtype));
  for (size_t i = 0; i < read.group_count; ++i) {
    kvf_group_spec group = {};
    KVFERRY_RETURN_IF_ERROR(ReadElementOf(read.groups, i, &group));
    KVFERRY_ASSIGN_OR_RETURN(GroupSpec converted, FromC(group));
    result.groups.push_back(std::move(converted));
  }
  return result;
}

kvf_group_spec ToC(const GroupSpec& group) {
  kvf_group_spec spec = {};
  spec.name = group.name.c_str();
  spec.block_tokens = group.block_tokens;
  spec.layer_count = group.layer_count;
  spec.kv_count = group.kv_count;
  spec.head_count = group.head_count;
  spec.head_bytes = group.head_bytes;
  spec.slice_count = group.slice_count;
  spec.rule = static_cast<uint32_t>(group.rule);
  spec.trailing_blocks = group.trailing_blocks;
  return spec;
}

}  // namespace kvferry::c_api
