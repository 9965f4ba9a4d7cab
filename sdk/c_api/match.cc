// Matching a prompt, and asking what there is of it.

#include <array>
#include <cstdint>
#include <span>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "kvferry/kvferry.h"
#include "protocol/limits.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/sized_structs.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

// A prompt's keys by group, without memory of their own.
class GroupKeysArray {
 public:
  // Errors  kInvalidArgument  as ReadSized; more groups than there can be
  absl::Status Read(const kvf_group_keys* groups, size_t count) {
    KVFERRY_RETURN_IF_ERROR(NotNull(groups, count, "groups"));
    if (count > groups_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("group_count is ", count, ", at most ", groups_.size(),
                       " can be named"));
    }
    for (size_t i = 0; i < count; ++i) {
      kvf_group_keys group = {};
      KVFERRY_RETURN_IF_ERROR(ReadElementOf(groups, i, &group));
      KVFERRY_RETURN_IF_ERROR(
          NotNull(group.keys, group.key_count, "kvf_group_keys.keys"));
      groups_[i] = {.group = group.group,
                    .keys = KeySpan(group.keys, group.key_count),
                    .tail_tokens = group.tail_tokens};
    }
    count_ = count;
    return absl::OkStatus();
  }

  std::span<const GroupKeys> groups() const { return {groups_.data(), count_}; }

 private:
  std::array<GroupKeys, protocol::kGroupsMax> groups_;
  size_t count_ = 0;
};

[[gnu::noinline]] absl::Status MatchGroups(Client* client,
                                           const kvf_group_keys* groups,
                                           size_t count, PinnedPrefix* prefix) {
  GroupKeysArray keys;
  const absl::Status read = keys.Read(groups, count);
  if (!read.ok()) {
    prefix->Release();
    return read;
  }
  return client->Match(keys.groups(), prefix);
}

static_assert(KVF_LOOKUP_NOTHING == static_cast<int>(LookupAnswer::kNothing));
static_assert(KVF_LOOKUP_HIT == static_cast<int>(LookupAnswer::kHit));
static_assert(KVF_LOOKUP_ASK_AGAIN ==
              static_cast<int>(LookupAnswer::kAskAgain));
static_assert(KVF_RESIDENCE_NONE == static_cast<int>(BlockResidence::kNone));
static_assert(KVF_RESIDENCE_HOST == static_cast<int>(BlockResidence::kHost));
static_assert(KVF_RESIDENCE_GPU == static_cast<int>(BlockResidence::kGpu));

}  // namespace

extern "C" {

kvf_status kvf_prefix_create(kvf_prefix** prefix) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(prefix, "prefix"));
    *prefix = nullptr;
    *prefix = new kvf_prefix();
    return absl::OkStatus();
  });
}

void kvf_prefix_destroy(kvf_prefix* prefix) { delete prefix; }

kvf_status kvf_match(kvf_client* client, const kvf_group_keys* groups,
                     size_t group_count, kvf_prefix* prefix) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(Usable(prefix, "prefix"));
    if (prefix->shared != client->shared) [[unlikely]] {
      // Before the client that it pins with: its last handle may be this one.
      prefix->prefix.Release();
      prefix->shared = client->shared;
    }
    Client* const target = client->shared->client.get();
    // The first group alone, which is what most engines have, is the SDK's
    // shortest way in.
    if (group_count == 1 && groups != nullptr &&
        groups->size == sizeof(*groups) && groups->keys != nullptr &&
        groups->group == 0 && groups->tail_tokens == 0) [[likely]] {
      return target->Match(KeySpan(groups->keys, groups->key_count),
                           &prefix->prefix);
    }
    return MatchGroups(target, groups, group_count, &prefix->prefix);
  });
}

uint64_t kvf_prefix_tokens(const kvf_prefix* prefix) {
  return IsUsable(prefix) ? prefix->prefix.tokens() : 0;
}

uint32_t kvf_prefix_first_block(const kvf_prefix* prefix, uint32_t group) {
  return IsUsable(prefix) ? prefix->prefix.first_block(group) : 0;
}

uint32_t kvf_prefix_block_count(const kvf_prefix* prefix, uint32_t group) {
  return IsUsable(prefix) ? prefix->prefix.block_count(group) : 0;
}

uint32_t kvf_prefix_residence(const kvf_prefix* prefix, uint32_t position,
                              uint32_t group) {
  if (!IsUsable(prefix)) return KVF_RESIDENCE_NONE;
  return static_cast<uint32_t>(prefix->prefix.residence(position, group));
}

kvf_status kvf_prefix_page(const kvf_prefix* prefix, uint32_t position,
                           uint32_t slice, uint32_t group, kvf_bytes* page) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(prefix, "prefix"));
    KVFERRY_RETURN_IF_ERROR(NotNull(page, "page"));
    const PinnedPrefix& pins = prefix->prefix;
    const std::span<const std::byte> bytes = pins.page(position, slice, group);
    if (bytes.empty()) {
      if (pins.residence(position, group) == BlockResidence::kGpu) {
        return absl::FailedPreconditionError(
            absl::StrCat("position ", position, " of group ", group,
                         ": pinned in a GPU; see kvf_gpu_pull"));
      }
      return absl::OutOfRangeError(absl::StrCat(
          "position ", position, ", slice ", slice, " of group ", group,
          ": pinned are positions [", pins.first_block(group), ", +",
          pins.block_count(group), ")"));
    }
    *page = ToC(bytes);
    return absl::OkStatus();
  });
}

kvf_status kvf_prefix_check(const kvf_prefix* prefix) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(prefix, "prefix"));
    return prefix->prefix.Check();
  });
}

void kvf_prefix_release(kvf_prefix* prefix) {
  if (IsUsable(prefix)) prefix->prefix.Release();
}

kvf_status kvf_lookup(kvf_client* client, const kvf_group_keys* groups,
                      size_t group_count, kvf_lookup_result* result) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(result));
    GroupKeysArray keys;
    KVFERRY_RETURN_IF_ERROR(keys.Read(groups, group_count));
    KVFERRY_ASSIGN_OR_RETURN(const LookupResult found,
                             client->shared->client->Lookup(keys.groups()));
    kvf_lookup_result answer = {};
    answer.tokens = found.tokens;
    answer.coming_tokens = found.coming_tokens;
    answer.estimate_ns = found.estimate == absl::InfiniteDuration()
                             ? -1
                             : absl::ToInt64Nanoseconds(found.estimate);
    answer.answer = static_cast<uint32_t>(found.answer);
    WriteSized(answer, result);
    return absl::OkStatus();
  });
}

}  // extern "C"
