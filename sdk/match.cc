// The hot path, whole: Client::Match down to the pin cells, so that the
// compiler sees all of it at once.

#include "kvferry/match.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kvferry/client.h"
#include "protocol/pin_fence.h"
#include "sdk/client_impl.h"
#include "sdk/hazard.h"
#include "sdk/matcher.h"

namespace kvferry {

using protocol::kKeysPerCallMax;

// --- PinnedPrefix --------------------------------------------------------

PinnedPrefix::PinnedPrefix(PinnedPrefix&& other) noexcept
    : attachment_(std::exchange(other.attachment_, nullptr)),
      tokens_(std::exchange(other.tokens_, 0)),
      ranges_(std::move(other.ranges_)),
      blocks_(std::move(other.blocks_)),
      scratch_(std::move(other.scratch_)),
      pools_(std::move(other.pools_)) {
  other.ranges_.clear();
  other.blocks_.clear();
  other.scratch_.clear();
  other.pools_.clear();
}

PinnedPrefix& PinnedPrefix::operator=(PinnedPrefix&& other) noexcept {
  if (this == &other) return *this;
  Release();
  attachment_ = std::exchange(other.attachment_, nullptr);
  tokens_ = std::exchange(other.tokens_, 0);
  ranges_ = std::exchange(other.ranges_, {});
  blocks_ = std::exchange(other.blocks_, {});
  scratch_ = std::exchange(other.scratch_, {});
  pools_ = std::exchange(other.pools_, {});
  return *this;
}

const PinnedPrefix::Range* PinnedPrefix::Find(uint32_t group) const {
  // Ranges of an empty one are left over: to keep them costs a match less than
  // to clear them.
  if (attachment_ == nullptr) return nullptr;
  for (const Range& range : ranges_) {
    if (range.group == group) return &range;
  }
  return nullptr;
}

uint32_t PinnedPrefix::first_block(uint32_t group) const {
  const Range* range = Find(group);
  return range == nullptr ? 0 : range->first;
}

uint32_t PinnedPrefix::block_count(uint32_t group) const {
  const Range* range = Find(group);
  return range == nullptr ? 0 : range->count;
}

uint32_t PinnedPrefix::BlockAt(uint32_t position, uint32_t group) const {
  const Range* range = Find(group);
  if (range == nullptr || position - range->first >= range->count) {
    return protocol::kNoBlock;
  }
  return blocks_[range->offset + (position - range->first)];
}

BlockResidence PinnedPrefix::residence(uint32_t position,
                                       uint32_t group) const {
  const uint32_t block = BlockAt(position, group);
  if (block == protocol::kNoBlock || attachment_->forked()) {
    return BlockResidence::kNone;
  }
  return block < attachment_->index().host_blocks() ? BlockResidence::kHost
                                                    : BlockResidence::kGpu;
}

uint32_t PinnedPrefix::IncarnationOf(uint32_t pool) const {
  for (const PoolUse& use : pools_) {
    if (use.pool == pool) return use.incarnation;
  }
  return 0;
}

std::span<const std::byte> PinnedPrefix::page(uint32_t position, uint32_t slice,
                                              uint32_t group) const {
  const Range* range = Find(group);
  // Not told apart from a correct call by the type, so checked: a wrong
  // position would read somebody else's prompt.
  if (range == nullptr || position - range->first >= range->count ||
      attachment_->forked()) {
    return {};
  }
  const protocol::GroupRecord& record = attachment_->segments().group(group);
  const uint32_t number = blocks_[range->offset + (position - range->first)];
  if (slice >= record.slice_count ||
      number >= attachment_->index().host_blocks()) {
    return {};
  }
  const std::byte* block = attachment_->segments().Address(group, number);
  return {block + slice * record.page_bytes, record.page_bytes};
}

absl::Status PinnedPrefix::Check() const {
  if (attachment_ == nullptr || attachment_->forked()) return absl::OkStatus();
  if (attachment_->revoked()) [[unlikely]] {
    return absl::AbortedError(
        "the daemon revoked this session's pins: discard what was read");
  }
  if (pools_.empty()) [[likely]]
    return absl::OkStatus();
  // What was read out of the blocks is read before the records are.
  std::atomic_thread_fence(std::memory_order_acquire);
  for (const PoolUse& use : pools_) {
    if (attachment_->gpu_pools().Stands(use.pool, use.incarnation)) continue;
    return absl::AbortedError(
        absl::StrCat("the memory of GPU pool ", use.pool,
                     " went with its worker: discard what was read"));
  }
  return absl::OkStatus();
}

void PinnedPrefix::Release() {
  sdk::Attachment* const attachment = std::exchange(attachment_, nullptr);
  tokens_ = 0;
  // In a forked child the cells are not mapped, and the pins are the parent's.
  if (attachment == nullptr || attachment->forked()) return;
  // A copy: the last Lower is the last access to the attachment.
  const sdk::PinTable pins = attachment->pins();
  for (const Range& range : ranges_) {
    for (uint32_t i = 0; i < range.count; ++i) {
      pins.Lower(blocks_[range.offset + i]);
    }
  }
  pools_.clear();
}

namespace sdk {
namespace {

[[gnu::cold, gnu::noinline]] absl::Status WrongKeyCount(size_t count) {
  return absl::InvalidArgumentError(
      absl::StrCat("match: ", count, " keys, must be 1 to ", kKeysPerCallMax));
}

}  // namespace

[[gnu::cold, gnu::noinline]] absl::Status Matcher::TooManyPins(uint32_t block) {
  return absl::ResourceExhaustedError(
      absl::StrCat("match: block ", block, " has ", protocol::kPinsPerBlockMax,
                   " pins of this session, the limit; release some"));
}

[[gnu::cold, gnu::noinline]] absl::Status Matcher::CheckGroups(
    const Attachment& attachment, std::span<const GroupKeys> groups) {
  if (groups.empty()) {
    return absl::InvalidArgumentError("match: no groups named");
  }
  const uint32_t group_count = attachment.segments().group_count();
  uint64_t named = 0;
  size_t keys = 0;
  for (const GroupKeys& group : groups) {
    if (group.group >= group_count) {
      return absl::InvalidArgumentError(absl::StrCat(
          "match: group ", group.group, ", the namespace has ", group_count));
    }
    if ((named >> group.group & 1) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("match: group ", group.group, " is named twice"));
    }
    named |= uint64_t{1} << group.group;
    if (group.keys.empty()) return WrongKeyCount(0);
    keys += group.keys.size();
    if (group.tail_tokens == 0) continue;
    const protocol::GroupRecord& record =
        attachment.segments().group(group.group);
    if (groups.size() > 1 ||
        record.hit_rule != static_cast<uint32_t>(HitRule::kAllPrefix)) {
      return absl::InvalidArgumentError(
          absl::StrCat("match: a tail of ", group.tail_tokens,
                       " tokens in group ", group.group,
                       ", which is not the only one, or not of hit rule "
                       "kAllPrefix"));
    }
    if (group.tail_tokens >= record.block_tokens) {
      return absl::InvalidArgumentError(absl::StrCat(
          "match: a tail of ", group.tail_tokens, " tokens, a block of group ",
          group.group, " has ", record.block_tokens));
    }
  }
  if (keys > kKeysPerCallMax) return WrongKeyCount(keys);
  return absl::OkStatus();
}

void Matcher::ApplyTail(const GroupKeys& group, uint32_t block_tokens,
                        PinnedPrefix* prefix) {
  if (group.tail_tokens == 0 ||
      prefix->block_count(group.group) != group.keys.size()) {
    return;
  }
  prefix->tokens_ -= block_tokens - group.tail_tokens;
}

// --- Matcher -------------------------------------------------------------

inline uint32_t Matcher::FindRun(const Attachment& attachment,
                                 std::span<const BlockKey> keys,
                                 uint64_t* words, uint64_t* slots) {
  const IndexView& index = attachment.index();
  const auto count = static_cast<uint32_t>(keys.size());
  for (uint32_t i = 0; i < count && i < kTagWindow; ++i) {
    index.PrefetchTags(keys[i]);
  }
  for (uint32_t i = 0; i < count && i < kSlotWindow; ++i) {
    slots[i] = index.ScanTags(keys[i]);
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (i + kTagWindow < count) index.PrefetchTags(keys[i + kTagWindow]);
    if (i + kSlotWindow < count) {
      slots[i + kSlotWindow] = index.ScanTags(keys[i + kSlotWindow]);
    }
    const IndexHit hit = index.FindAt(keys[i], slots[i]);
    if (!hit.found()) return i;
    words[i] = hit.word;
    slots[i] = hit.slot;
    attachment.pins().Prefetch(hit.block());
  }
  return count;
}

inline void Matcher::SetOnlyRange(uint32_t group, uint32_t count,
                                  PinnedPrefix* prefix) {
  if (prefix->ranges_.size() != 1) [[unlikely]]
    prefix->ranges_.resize(1);
  prefix->ranges_[0] = {
      .group = group, .first = 0, .count = count, .offset = 0};
}

// The same steps as below for a single key, kept in registers: what it costs
// beyond memory is seen here and nowhere else.
inline absl::Status Matcher::MatchOne(Attachment* attachment, uint32_t group,
                                      const BlockKey& key,
                                      PinnedPrefix* prefix) {
  const IndexView& index = attachment->index();
  const PinTable& pins = attachment->pins();
  const TouchLog& touches = attachment->touches();
  const SegmentTable& segments = attachment->segments();
  index.PrefetchAll(key);
  const IndexHit hit = index.Find(key);
  const uint32_t block = hit.block();
  if (!hit.found() || !segments.InGroup(group, block) ||
      (!segments.complete() && !attachment->MapSegmentOf(group, block))) {
    touches.Record(0, 0, key);
    touches.Count(0);
    return absl::OkStatus();
  }
  // The touch before the pin: its stores are done while the cell's line is on
  // its way, where after it they would hold up the next locked instruction.
  pins.Prefetch(block);
  touches.Record(hit.word, 1, BlockKey{});
  touches.Count(1);
  if (!pins.Raise(block)) [[unlikely]] {
    touches.Uncount(1);
    return TooManyPins(block);
  }
  protocol::PinFence();
  if (!Confirm(index, key, hit)) [[unlikely]] {
    pins.Lower(block);
    touches.Uncount(1);
    touches.CountRaces(1);
    return absl::OkStatus();
  }
  if (prefix->blocks_.empty()) [[unlikely]]
    prefix->blocks_.resize(1);
  prefix->blocks_[0] = block;
  SetOnlyRange(group, 1, prefix);
  prefix->tokens_ = segments.group(group).block_tokens;
  prefix->attachment_ = attachment;
  return absl::OkStatus();
}

absl::Status Matcher::MatchPrefix(Attachment* attachment, uint32_t group,
                                  std::span<const BlockKey> keys,
                                  PinnedPrefix* prefix) {
  if (attachment->gpu_pools().used()) [[unlikely]]
    return MatchPrefixAny(attachment, group, keys, prefix);
  if (keys.size() == 1) return MatchOne(attachment, group, keys[0], prefix);
  const auto key_count = static_cast<uint32_t>(keys.size());
  if (prefix->scratch_.size() < 2 * size_t{key_count}) {
    prefix->scratch_.resize(2 * size_t{key_count});
  }
  if (prefix->blocks_.size() < key_count) prefix->blocks_.resize(key_count);
  uint64_t* const words = prefix->scratch_.data();
  uint64_t* const slots = words + key_count;
  uint32_t* const blocks = prefix->blocks_.data();
  const IndexView& index = attachment->index();
  const PinTable& pins = attachment->pins();
  const TouchLog& touches = attachment->touches();
  const SegmentTable& segments = attachment->segments();

  uint32_t found = FindRun(*attachment, keys, words, slots);
  const bool all_mapped = segments.complete();
  for (uint32_t i = 0; i < found; ++i) {
    const uint32_t block = IndexHit{words[i], slots[i]}.block();
    // A key of another group, or a word that makes no sense, is no hit here.
    if (!segments.InGroup(group, block) ||
        (!all_mapped && !attachment->MapSegmentOf(group, block))) [[unlikely]] {
      found = i;
      break;
    }
    if (!pins.Raise(block)) [[unlikely]] {
      for (uint32_t k = 0; k < i; ++k) pins.Lower(blocks[k]);
      return TooManyPins(block);
    }
    blocks[i] = block;
  }
  uint32_t valid = 0;
  if (found > 0) {
    protocol::PinFence();
    while (valid < found &&
           Confirm(index, keys[valid], {words[valid], slots[valid]})) {
      ++valid;
    }
    if (valid < found) [[unlikely]] {
      for (uint32_t i = valid; i < found; ++i) pins.Lower(blocks[i]);
      touches.CountRaces(found - valid);
    }
  }
  touches.Record(valid == 0 ? 0 : words[valid - 1], valid,
                 valid < key_count ? keys[valid] : BlockKey{});
  touches.Count(valid);
  if (valid == 0) return absl::OkStatus();
  SetOnlyRange(group, valid, prefix);
  prefix->tokens_ = uint64_t{valid} * segments.group(group).block_tokens;
  prefix->attachment_ = attachment;
  return absl::OkStatus();
}

}  // namespace sdk

// --- Client --------------------------------------------------------------

absl::Status Client::Match(std::span<const BlockKey> keys,
                           PinnedPrefix* prefix) {
  prefix->Release();
  if (impl_->forked()) [[unlikely]]
    return sdk::ForkedError();
  if (keys.empty() || keys.size() > kKeysPerCallMax) [[unlikely]] {
    return sdk::WrongKeyCount(keys.size());
  }
  sdk::HazardGuard guard;
  sdk::Attachment* const attachment = guard.Protect(impl_->current());
  if (attachment->segments().group(0).hit_rule ==
      static_cast<uint32_t>(HitRule::kAllPrefix)) [[likely]] {
    return sdk::Matcher::MatchPrefix(attachment, 0, keys, prefix);
  }
  const GroupKeys group{0, keys};
  return sdk::Matcher::MatchGroups(attachment, {&group, 1}, prefix);
}

absl::Status Client::Match(std::span<const GroupKeys> groups,
                           PinnedPrefix* prefix) {
  prefix->Release();
  if (impl_->forked()) return sdk::ForkedError();
  sdk::HazardGuard guard;
  sdk::Attachment* const attachment = guard.Protect(impl_->current());
  if (absl::Status status = sdk::Matcher::CheckGroups(*attachment, groups);
      !status.ok()) {
    return status;
  }
  if (groups.size() == 1 &&
      attachment->segments().group(groups[0].group).hit_rule ==
          static_cast<uint32_t>(HitRule::kAllPrefix)) {
    absl::Status status = sdk::Matcher::MatchPrefix(attachment, groups[0].group,
                                                    groups[0].keys, prefix);
    sdk::Matcher::ApplyTail(
        groups[0], attachment->segments().group(groups[0].group).block_tokens,
        prefix);
    return status;
  }
  return sdk::Matcher::MatchGroups(attachment, groups, prefix);
}

}  // namespace kvferry
