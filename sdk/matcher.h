#ifndef KVFERRY_SDK_MATCHER_H_
#define KVFERRY_SDK_MATCHER_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kvferry/match.h"
#include "protocol/limits.h"
#include "sdk/attachment.h"
#include "sdk/futex.h"

namespace kvferry::sdk {

// Finds, pins and checks the blocks of a prompt.
//
//   1. look every key up         (memory latency, hidden by prefetching)
//   2. raise the pin of each hit
//   3. one full fence
//   4. re-read every slot: only what still says the same is a hit
//
// INV-PIN-1 (protocol/shm_layout.h) is made here. What fails step 4 is unpinned
// and shortens the hit. A slot that is retiring is read again for a moment:
// the daemon makes it ready again when it sees the pin; it might also be gone,
// so the moment is bounded.
//
// Cost     no system call and no allocation once `prefix` has grown, unless a
//          block's segment is not mapped yet
// Threads  any number, each with a prefix of its own
class Matcher {
 public:
  // One group under HitRule::kAllPrefix: the path that everything is made for.
  // REQUIRES  prefix is empty, group < group_count, keys as Client::Match says;
  //           the caller keeps `attachment` mapped meanwhile
  static absl::Status MatchPrefix(Attachment* attachment, uint32_t group,
                                  std::span<const BlockKey> keys,
                                  PinnedPrefix* prefix);

  // The same where GPU residences count, too (GpuPools::used). Which residence
  // of a block is taken is decided when it is looked up; one in a GPU that is
  // dropped before it is pinned gives way to the host's.
  static absl::Status MatchPrefixAny(Attachment* attachment, uint32_t group,
                                     std::span<const BlockKey> keys,
                                     PinnedPrefix* prefix);

  // Any groups and rules: the largest boundary at which every group's holds.
  // REQUIRES  as above; each group is named once
  static absl::Status MatchGroups(Attachment* attachment,
                                  std::span<const GroupKeys> groups,
                                  PinnedPrefix* prefix);

  // After the pins and their fence: pools whose memory went meanwhile are not
  // usable.
  static void WithdrawFallen(const GpuPools& pools, UsablePools* usable);

  // What both of Client's calls with several groups ask for.
  // Errors  kInvalidArgument, as Client::Match
  static absl::Status CheckGroups(const Attachment& attachment,
                                  std::span<const GroupKeys> groups);

  // The last block, if it hit, is a tail of so many tokens.
  static void ApplyTail(const GroupKeys& group, uint32_t block_tokens,
                        PinnedPrefix* prefix);

 private:
  class GroupsMatch;  // match_groups.cc
  class AnyMatch;     // match_any.cc

  static absl::Status TooManyPins(uint32_t block);
  // Notes which pools the prefix's first `count` blocks lie in, and which
  // memories of theirs `usable` named.
  static void SetPools(const GpuPools& pools, const UsablePools& usable,
                       uint32_t count, PinnedPrefix* prefix);

  // Keys whose tags are being fetched, and those whose slots are.
  static constexpr uint32_t kTagWindow = 24;
  static constexpr uint32_t kSlotWindow = 10;

  static absl::Status MatchOne(Attachment* attachment, uint32_t group,
                               const BlockKey& key, PinnedPrefix* prefix);

  // Makes [0, count) of one group what the prefix holds.
  static void SetOnlyRange(uint32_t group, uint32_t count,
                           PinnedPrefix* prefix);

  // Looks up keys until one misses, and fetches the pin cells of the others.
  // words[i] and slots[i] are written for i below the result; slots may be
  // beyond it, too.
  static uint32_t FindRun(const Attachment& attachment,
                          std::span<const BlockKey> keys, uint64_t* words,
                          uint64_t* slots);
  // Whether the pinned hit may be read.
  [[gnu::always_inline]] static bool Confirm(const IndexView& index,
                                             const BlockKey& key,
                                             const IndexHit& hit) {
    IndexView::Verdict verdict = index.Recheck(key, hit);
    if (verdict == IndexView::Verdict::kValid) [[likely]]
      return true;
    for (uint32_t i = 0; verdict == IndexView::Verdict::kRetiring &&
                         i < IndexView::kRetiringReads;
         ++i) {
      SpinPause();
      verdict = index.Recheck(key, hit);
    }
    return verdict == IndexView::Verdict::kValid;
  }
  // The same of a hit in either column.
  static bool ConfirmAny(const IndexView& index, const BlockKey& key,
                         const IndexHit& hit);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_MATCHER_H_
