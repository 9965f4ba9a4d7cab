// Matcher::MatchGroups: one answer for several groups, each with its rule.

#include <algorithm>
#include <array>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "kvferry/layout.h"
#include "protocol/pin_fence.h"
#include "sdk/matcher.h"

namespace kvferry::sdk {

// One call. What was looked up is remembered, so that moving the boundary down
// looks no key up twice.
class Matcher::GroupsMatch {
 public:
  GroupsMatch(Attachment* attachment, std::span<const GroupKeys> groups,
              PinnedPrefix* prefix);

  absl::Status Run();

 private:
  // Values of a word besides a residence: not looked up yet, not there.
  static constexpr uint64_t kUnknown = ~uint64_t{0};
  static constexpr uint64_t kAbsent = 0;
  // Lookups ahead whose tags are fetched when going down.
  static constexpr uint32_t kDownWindow = 12;
  // Each round ends with a smaller boundary because some block left between
  // its lookup and its pin; a prompt that loses this race so often is a miss.
  static constexpr uint32_t kRoundsMax = 8;

  struct Group {
    uint32_t number = 0;
    uint32_t block_tokens = 0;
    HitRule rule = HitRule::kAllPrefix;
    uint32_t trailing_blocks = 0;
    std::span<const BlockKey> keys;
    uint64_t* words = nullptr;
    uint64_t* slots = nullptr;
    // Under the boundary: the blocks that are used.
    uint32_t first = 0;
    uint32_t count = 0;
  };
  std::span<Group> groups() { return {groups_.data(), group_count_}; }

  bool Present(Group& group, uint32_t position);
  uint64_t LargestBoundary();
  void Use(Group& group, uint64_t boundary) const;
  absl::Status PinAll(bool* confirmed);
  bool ConfirmAll();
  void UnpinAll(uint32_t count);
  void Finish(uint64_t boundary);

  Attachment* const attachment_;
  PinnedPrefix* const prefix_;
  std::array<Group, protocol::kGroupsMax> groups_;
  uint32_t group_count_ = 0;
  uint64_t step_tokens_ = 1;   // common multiple of every block_tokens
  uint64_t limit_tokens_ = 0;  // what every group has keys for
  uint32_t races_ = 0;
};

Matcher::GroupsMatch::GroupsMatch(Attachment* attachment,
                                  std::span<const GroupKeys> groups,
                                  PinnedPrefix* prefix)
    : attachment_(attachment), prefix_(prefix) {
  size_t key_count = 0;
  for (const GroupKeys& group : groups) key_count += group.keys.size();
  if (prefix->scratch_.size() < 2 * key_count) {
    prefix->scratch_.resize(2 * key_count);
  }
  if (prefix->blocks_.size() < key_count) prefix->blocks_.resize(key_count);
  std::fill_n(prefix->scratch_.begin(), key_count, kUnknown);

  limit_tokens_ = ~uint64_t{0};
  uint64_t* words = prefix->scratch_.data();
  uint64_t* slots = words + key_count;
  for (const GroupKeys& keys : groups) {
    const protocol::GroupRecord& record =
        attachment->segments().group(keys.group);
    Group& group = groups_[group_count_++];
    group.number = keys.group;
    group.block_tokens = record.block_tokens;
    group.rule = static_cast<HitRule>(record.hit_rule);
    group.trailing_blocks = record.trailing_blocks;
    group.keys = keys.keys;
    group.words = words;
    group.slots = slots;
    words += keys.keys.size();
    slots += keys.keys.size();
    limit_tokens_ = std::min(limit_tokens_,
                             keys.keys.size() * uint64_t{record.block_tokens});
  }
  for (const Group& group : this->groups()) {
    // Beyond the limit there is no boundary, and a product might wrap.
    if (step_tokens_ > limit_tokens_) break;
    step_tokens_ = std::lcm(step_tokens_, uint64_t{group.block_tokens});
  }
}

bool Matcher::GroupsMatch::Present(Group& group, uint32_t position) {
  uint64_t& word = group.words[position];
  if (word == kUnknown) {
    const IndexView& index = attachment_->index();
    if (position >= kDownWindow) {
      index.PrefetchTags(group.keys[position - kDownWindow]);
    }
    const IndexHit hit = index.Find(group.keys[position]);
    word = kAbsent;
    if (hit.found() &&
        attachment_->segments().InGroup(group.number, hit.block()) &&
        attachment_->MapSegmentOf(group.number, hit.block())) {
      word = hit.word;
      group.slots[position] = hit.slot;
    }
  }
  return word != kAbsent;
}

uint64_t Matcher::GroupsMatch::LargestBoundary() {
  uint64_t boundary = limit_tokens_;
  for (Group& group : groups()) {
    if (group.rule != HitRule::kAllPrefix) continue;
    const auto blocks = static_cast<uint32_t>(boundary / group.block_tokens);
    for (uint32_t i = 0; i < blocks && i < kTagWindow; ++i) {
      attachment_->index().PrefetchTags(group.keys[i]);
    }
    uint32_t run = 0;
    while (run < blocks) {
      if (run + kTagWindow < blocks) {
        attachment_->index().PrefetchTags(group.keys[run + kTagWindow]);
      }
      if (!Present(group, run)) break;
      ++run;
    }
    boundary = std::min(boundary, uint64_t{run} * group.block_tokens);
  }
  boundary -= boundary % step_tokens_;
  while (boundary > 0) {
    bool holds = true;
    for (Group& group : groups()) {
      if (group.rule == HitRule::kAllPrefix) continue;
      Use(group, boundary);
      for (uint32_t p = group.first + group.count; p-- > group.first;) {
        if (Present(group, p)) continue;
        // No boundary whose window has this block holds; the next below ends
        // before it.
        boundary = uint64_t{p} * group.block_tokens;
        boundary -= boundary % step_tokens_;
        holds = false;
        break;
      }
      if (!holds) break;
    }
    if (holds) return boundary;
  }
  return 0;
}

// Which blocks a boundary needs.
void Matcher::GroupsMatch::Use(Group& group, uint64_t boundary) const {
  const auto end = static_cast<uint32_t>(boundary / group.block_tokens);
  switch (group.rule) {
    case HitRule::kTrailing:
      group.count = std::min(end, group.trailing_blocks);
      break;
    case HitRule::kCheckpoint:
      group.count = std::min(end, 1u);
      break;
    case HitRule::kAllPrefix:
      group.count = end;
      break;
  }
  group.first = end - group.count;
}

absl::Status Matcher::GroupsMatch::PinAll(bool* confirmed) {
  const PinTable& pins = attachment_->pins();
  uint32_t pinned = 0;
  for (const Group& group : groups()) {
    for (uint32_t i = 0; i < group.count; ++i) {
      const uint32_t block = IndexHit{group.words[group.first + i], 0}.block();
      if (!pins.Raise(block)) {
        UnpinAll(pinned);
        return absl::ResourceExhaustedError(absl::StrCat(
            "match: block ", block, " has ", protocol::kPinsPerBlockMax,
            " pins of this session, the limit; release some"));
      }
      prefix_->blocks_[pinned++] = block;
    }
  }
  protocol::PinFence();
  *confirmed = ConfirmAll();
  if (!*confirmed) UnpinAll(pinned);
  return absl::OkStatus();
}

// What fails is remembered as absent.
bool Matcher::GroupsMatch::ConfirmAll() {
  const IndexView& index = attachment_->index();
  bool all = true;
  for (Group& group : groups()) {
    for (uint32_t p = group.first; p < group.first + group.count; ++p) {
      const IndexHit hit{group.words[p], group.slots[p]};
      if (Confirm(index, group.keys[p], hit)) continue;
      group.words[p] = kAbsent;
      ++races_;
      all = false;
    }
  }
  return all;
}

void Matcher::GroupsMatch::UnpinAll(uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    attachment_->pins().Lower(prefix_->blocks_[i]);
  }
}

absl::Status Matcher::GroupsMatch::Run() {
  uint64_t boundary = 0;
  for (uint32_t round = 0; round < kRoundsMax; ++round) {
    boundary = LargestBoundary();
    for (Group& group : groups()) Use(group, boundary);
    if (boundary == 0) break;
    bool confirmed = false;
    if (absl::Status status = PinAll(&confirmed); !status.ok()) return status;
    if (confirmed) break;
    boundary = 0;
    for (Group& group : groups()) Use(group, boundary);
  }
  Finish(boundary);
  return absl::OkStatus();
}

void Matcher::GroupsMatch::Finish(uint64_t boundary) {
  const TouchLog& touches = attachment_->touches();
  prefix_->ranges_.clear();
  uint32_t offset = 0;
  for (const Group& group : groups()) {
    const uint32_t end = group.first + group.count;
    const bool missed = end < group.keys.size() && group.words[end] == kAbsent;
    touches.Record(group.count == 0 ? 0 : group.words[end - 1], group.count,
                   missed ? group.keys[end] : BlockKey{});
    if (boundary == 0) continue;
    prefix_->ranges_.push_back({.group = group.number,
                                .first = group.first,
                                .count = group.count,
                                .offset = offset});
    offset += group.count;
  }
  touches.Count(offset);
  if (races_ > 0) touches.CountRaces(races_);
  if (boundary == 0) return;
  prefix_->tokens_ = boundary;
  // Rules that need no block (an empty window) leave nothing to hold.
  prefix_->attachment_ = offset == 0 ? nullptr : attachment_;
}

absl::Status Matcher::MatchGroups(Attachment* attachment,
                                  std::span<const GroupKeys> groups,
                                  PinnedPrefix* prefix) {
  return GroupsMatch(attachment, groups, prefix).Run();
}

}  // namespace kvferry::sdk
