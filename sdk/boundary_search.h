#ifndef KVFERRY_SDK_BOUNDARY_SEARCH_H_
#define KVFERRY_SDK_BOUNDARY_SEARCH_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>

#include "kvferry/layout.h"
#include "kvferry/match.h"
#include "protocol/limits.h"
#include "sdk/index_view.h"
#include "sdk/segment_table.h"

namespace kvferry::sdk {

// The largest token boundary at which every group's hit rule holds, by any
// notion of a block being there.
//
// Threads  one at a time
class BoundarySearch {
 public:
  struct Group {
    uint32_t number = 0;
    uint32_t block_tokens = 0;
    HitRule rule = HitRule::kAllPrefix;
    uint32_t trailing_blocks = 0;
    std::span<const BlockKey> keys;
    size_t offset = 0;  // of its first key among all groups' keys
    // Under the boundary given to Use: the blocks that are used.
    uint32_t first = 0;
    uint32_t count = 0;
  };

  // REQUIRES  groups as Client::Match says
  BoundarySearch(const SegmentTable& segments,
                 std::span<const GroupKeys> groups);

  std::span<Group> groups() { return {groups_.data(), group_count_}; }
  size_t key_count() const { return key_count_; }

  // `present(group, position)` says whether that block is there; it is asked
  // again for the same one.
  template <typename Present>
  uint64_t Largest(const IndexView& index, const Present& present);

  // Sets which blocks of a group a boundary needs.
  static void Use(Group& group, uint64_t boundary);

 private:
  // Keys whose tags are being fetched.
  static constexpr uint32_t kTagWindow = 24;

  std::array<Group, protocol::kGroupsMax> groups_;
  uint32_t group_count_ = 0;
  size_t key_count_ = 0;
  uint64_t step_tokens_ = 1;  // common multiple of every block_tokens
  uint64_t limit_tokens_ = ~uint64_t{0};  // what every group has keys for
};

inline BoundarySearch::BoundarySearch(const SegmentTable& segments,
                                      std::span<const GroupKeys> groups) {
  for (const GroupKeys& keys : groups) {
    const protocol::GroupRecord& record = segments.group(keys.group);
    Group& group = groups_[group_count_++];
    group.number = keys.group;
    group.block_tokens = record.block_tokens;
    group.rule = static_cast<HitRule>(record.hit_rule);
    group.trailing_blocks = record.trailing_blocks;
    group.keys = keys.keys;
    group.offset = key_count_;
    key_count_ += keys.keys.size();
    limit_tokens_ = std::min(limit_tokens_,
                             keys.keys.size() * uint64_t{record.block_tokens});
  }
  for (const Group& group : this->groups()) {
    // Beyond the limit there is no boundary, and a product might wrap.
    if (step_tokens_ > limit_tokens_) break;
    step_tokens_ = std::lcm(step_tokens_, uint64_t{group.block_tokens});
  }
}

inline void BoundarySearch::Use(Group& group, uint64_t boundary) {
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

template <typename Present>
uint64_t BoundarySearch::Largest(const IndexView& index,
                                 const Present& present) {
  uint64_t boundary = limit_tokens_;
  for (Group& group : groups()) {
    if (group.rule != HitRule::kAllPrefix) continue;
    const auto blocks = static_cast<uint32_t>(boundary / group.block_tokens);
    for (uint32_t i = 0; i < blocks && i < kTagWindow; ++i) {
      index.PrefetchTags(group.keys[i]);
    }
    uint32_t run = 0;
    while (run < blocks) {
      if (run + kTagWindow < blocks) {
        index.PrefetchTags(group.keys[run + kTagWindow]);
      }
      if (!present(group, run)) break;
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
        if (present(group, p)) continue;
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

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_BOUNDARY_SEARCH_H_
