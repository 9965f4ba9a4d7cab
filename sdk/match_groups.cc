// Matcher::MatchGroups: one answer for several groups, each with its rule.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "protocol/pin_fence.h"
#include "sdk/boundary_search.h"
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

  using Group = BoundarySearch::Group;
  std::span<Group> groups() { return search_.groups(); }
  uint64_t& Word(const Group& group, uint32_t position) {
    return prefix_->scratch_[group.offset + position];
  }
  uint64_t& Slot(const Group& group, uint32_t position) {
    return prefix_->scratch_[search_.key_count() + group.offset + position];
  }

  bool Present(const Group& group, uint32_t position);
  uint64_t LargestBoundary() {
    return search_.Largest(attachment_->index(),
                           [this](const Group& group, uint32_t position) {
                             return Present(group, position);
                           });
  }
  // The residence of a key that may be pinned; nothing found: none.
  IndexHit Find(const Group& group, const BlockKey& key);
  IndexHit FindHost(const Group& group, const BlockKey& key);
  absl::Status PinAll(bool* confirmed);
  bool ConfirmAll();
  void UnpinAll(uint32_t count);
  void Finish(uint64_t boundary);

  Attachment* const attachment_;
  PinnedPrefix* const prefix_;
  BoundarySearch search_;
  const bool any_;      // GPU residences count, too
  UsablePools usable_;  // of `any_`
  uint32_t races_ = 0;
};

Matcher::GroupsMatch::GroupsMatch(Attachment* attachment,
                                  std::span<const GroupKeys> groups,
                                  PinnedPrefix* prefix)
    : attachment_(attachment),
      prefix_(prefix),
      search_(attachment->segments(), groups),
      any_(attachment->gpu_pools().used()) {
  if (any_) usable_ = attachment->gpu_pools().Usable();
  const size_t key_count = search_.key_count();
  if (prefix->scratch_.size() < 2 * key_count) {
    prefix->scratch_.resize(2 * key_count);
  }
  if (prefix->blocks_.size() < key_count) prefix->blocks_.resize(key_count);
  std::fill_n(prefix->scratch_.begin(), key_count, kUnknown);
}

bool Matcher::GroupsMatch::Present(const Group& group, uint32_t position) {
  uint64_t& word = Word(group, position);
  if (word == kUnknown) {
    const IndexView& index = attachment_->index();
    if (position >= kDownWindow) {
      index.PrefetchTags(group.keys[position - kDownWindow]);
    }
    const IndexHit hit = Find(group, group.keys[position]);
    word = hit.found() ? hit.word : kAbsent;
    Slot(group, position) = hit.slot;
  }
  return word != kAbsent;
}

IndexHit Matcher::GroupsMatch::Find(const Group& group, const BlockKey& key) {
  if (!any_) return FindHost(group, key);
  const IndexHit hit =
      attachment_->index().FindAny(key, attachment_->gpu_pools(), usable_);
  return hit.found() && attachment_->HasBlock(group.number, hit.block())
             ? hit
             : IndexHit{};
}

IndexHit Matcher::GroupsMatch::FindHost(const Group& group,
                                        const BlockKey& key) {
  const IndexHit hit = attachment_->index().Find(key);
  return hit.found() &&
                 attachment_->segments().InGroup(group.number, hit.block()) &&
                 attachment_->MapSegmentOf(group.number, hit.block())
             ? hit
             : IndexHit{};
}

absl::Status Matcher::GroupsMatch::PinAll(bool* confirmed) {
  const PinTable& pins = attachment_->pins();
  uint32_t pinned = 0;
  for (const Group& group : groups()) {
    for (uint32_t i = 0; i < group.count; ++i) {
      const uint32_t block = IndexHit{Word(group, group.first + i), 0}.block();
      if (!pins.Raise(block)) {
        UnpinAll(pinned);
        return TooManyPins(block);
      }
      prefix_->blocks_[pinned++] = block;
    }
  }
  protocol::PinFence();
  *confirmed = ConfirmAll();
  if (!*confirmed) UnpinAll(pinned);
  return absl::OkStatus();
}

// What fails is remembered as absent, or, in a GPU, gives way to the host's
// residence of its key.
bool Matcher::GroupsMatch::ConfirmAll() {
  const IndexView& index = attachment_->index();
  if (any_) WithdrawFallen(attachment_->gpu_pools(), &usable_);
  bool all = true;
  for (Group& group : groups()) {
    for (uint32_t p = group.first; p < group.first + group.count; ++p) {
      const IndexHit hit{Word(group, p), Slot(group, p)};
      const uint32_t pool = attachment_->gpu_pools().PoolOf(hit.block());
      if (pool == 0 ? Confirm(index, group.keys[p], hit)
                    : usable_.incarnation(pool) != 0 &&
                          ConfirmAny(index, group.keys[p], hit)) {
        continue;
      }
      const IndexHit host =
          pool == 0 ? IndexHit{} : FindHost(group, group.keys[p]);
      Word(group, p) = host.found() ? host.word : kAbsent;
      Slot(group, p) = host.slot;
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
    for (Group& group : groups()) BoundarySearch::Use(group, boundary);
    if (boundary == 0) break;
    bool confirmed = false;
    if (absl::Status status = PinAll(&confirmed); !status.ok()) return status;
    if (confirmed) break;
    boundary = 0;
    for (Group& group : groups()) BoundarySearch::Use(group, boundary);
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
    const bool missed = end < group.keys.size() && Word(group, end) == kAbsent;
    touches.Record(group.count == 0 ? 0 : Word(group, end - 1), group.count,
                   missed ? group.keys[end] : BlockKey{});
    if (boundary == 0) continue;
    prefix_->ranges_.push_back({.group = group.number,
                                .first = group.first,
                                .count = group.count,
                                .offset = offset});
    offset += group.count;
  }
  if (any_) SetPools(attachment_->gpu_pools(), usable_, offset, prefix_);
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
