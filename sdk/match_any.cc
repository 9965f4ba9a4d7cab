// Matcher::MatchPrefixAny: a prompt of one group over host and GPU residences,
// for clients that can read both. The host's own path is match.cc, which it
// leaves alone.

#include "protocol/pin_fence.h"
#include "sdk/matcher.h"

namespace kvferry::sdk {

bool Matcher::ConfirmAny(const IndexView& index, const BlockKey& key,
                         const IndexHit& hit) {
  IndexView::Verdict verdict = index.RecheckAny(key, hit);
  for (uint32_t i = 0; verdict == IndexView::Verdict::kRetiring &&
                       i < IndexView::kRetiringReads;
       ++i) {
    SpinPause();
    verdict = index.RecheckAny(key, hit);
  }
  return verdict == IndexView::Verdict::kValid;
}

void Matcher::WithdrawFallen(const GpuPools& pools, UsablePools* usable) {
  for (uint32_t p = 1; p <= pools.pool_count(); ++p) {
    uint32_t& incarnation = usable->incarnations[p - 1];
    if (incarnation != 0 && !pools.Stands(p, incarnation)) incarnation = 0;
  }
}

void Matcher::SetPools(const GpuPools& pools, const UsablePools& usable,
                       uint32_t count, PinnedPrefix* prefix) {
  static_assert(protocol::kGpuPoolsMax <= 32, "a bit each");
  uint32_t seen = 0;
  prefix->pools_.clear();
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t pool = pools.PoolOf(prefix->blocks_[i]);
    if (pool == 0 || (seen >> (pool - 1) & 1) != 0) continue;
    seen |= uint32_t{1} << (pool - 1);
    prefix->pools_.push_back({pool, usable.incarnation(pool)});
  }
}

// One call.
class Matcher::AnyMatch {
 public:
  AnyMatch(Attachment* attachment, uint32_t group,
           std::span<const BlockKey> keys, PinnedPrefix* prefix)
      : attachment_(attachment),
        index_(attachment->index()),
        pins_(attachment->pins()),
        pools_(attachment->gpu_pools()),
        group_(group),
        keys_(keys),
        usable_(pools_.Usable()) {
    const size_t count = keys.size();
    if (prefix->scratch_.size() < 2 * count) prefix->scratch_.resize(2 * count);
    if (prefix->blocks_.size() < count) prefix->blocks_.resize(count);
    words_ = prefix->scratch_.data();
    slots_ = words_ + count;
    blocks_ = prefix->blocks_.data();
  }

  absl::Status Run(PinnedPrefix* prefix);

 private:
  uint32_t Find();
  // Pins the first `found` blocks, or none.
  absl::Status Pin(uint32_t found);
  bool Confirm(uint32_t i) const;
  // Takes the host's residence of a key whose GPU's is gone. Returns whether it
  // is pinned and sure; the pin there was is given back in any case.
  bool TakeHost(uint32_t i);

  Attachment* const attachment_;
  const IndexView& index_;
  const PinTable& pins_;
  const GpuPools& pools_;
  const uint32_t group_;
  const std::span<const BlockKey> keys_;
  UsablePools usable_;
  uint64_t* words_;
  uint64_t* slots_;
  uint32_t* blocks_;
};

uint32_t Matcher::AnyMatch::Find() {
  const auto count = static_cast<uint32_t>(keys_.size());
  for (uint32_t i = 0; i < count && i < kTagWindow; ++i) {
    index_.PrefetchTags(keys_[i]);
  }
  const auto scan = [this](uint32_t i) {
    slots_[i] = index_.ScanTags(keys_[i]);
    if (slots_[i] != IndexView::kNoSlot) index_.PrefetchGpu(slots_[i]);
  };
  for (uint32_t i = 0; i < count && i < kSlotWindow; ++i) scan(i);
  for (uint32_t i = 0; i < count; ++i) {
    if (i + kTagWindow < count) index_.PrefetchTags(keys_[i + kTagWindow]);
    if (i + kSlotWindow < count) scan(i + kSlotWindow);
    const IndexHit hit = index_.FindAnyAt(keys_[i], slots_[i], pools_, usable_);
    // A key of another group, or a word that makes no sense, is no hit here.
    if (!hit.found() || !attachment_->HasBlock(group_, hit.block())) return i;
    words_[i] = hit.word;
    slots_[i] = hit.slot;
    pins_.Prefetch(hit.block());
  }
  return count;
}

absl::Status Matcher::AnyMatch::Pin(uint32_t found) {
  for (uint32_t i = 0; i < found; ++i) {
    blocks_[i] = IndexHit{words_[i], slots_[i]}.block();
    if (pins_.Raise(blocks_[i])) [[likely]]
      continue;
    for (uint32_t k = 0; k < i; ++k) pins_.Lower(blocks_[k]);
    return TooManyPins(blocks_[i]);
  }
  return absl::OkStatus();
}

bool Matcher::AnyMatch::Confirm(uint32_t i) const {
  const uint32_t pool = pools_.PoolOf(blocks_[i]);
  return (pool == 0 || usable_.incarnation(pool) != 0) &&
         ConfirmAny(index_, keys_[i], {words_[i], slots_[i]});
}

bool Matcher::AnyMatch::TakeHost(uint32_t i) {
  pins_.Lower(blocks_[i]);
  const IndexHit hit = index_.Find(keys_[i]);
  if (!hit.found() || hit.block() >= index_.host_blocks() ||
      !attachment_->HasBlock(group_, hit.block()) ||
      !pins_.Raise(hit.block())) {
    return false;
  }
  protocol::PinFence();
  if (!ConfirmAny(index_, keys_[i], hit)) {
    pins_.Lower(hit.block());
    return false;
  }
  words_[i] = hit.word;
  slots_[i] = hit.slot;
  blocks_[i] = hit.block();
  return true;
}

absl::Status Matcher::AnyMatch::Run(PinnedPrefix* prefix) {
  const TouchLog& touches = attachment_->touches();
  const auto key_count = static_cast<uint32_t>(keys_.size());
  const uint32_t found = Find();
  if (absl::Status status = Pin(found); !status.ok()) return status;
  uint32_t valid = 0;
  if (found > 0) {
    protocol::PinFence();
    WithdrawFallen(pools_, &usable_);
    uint32_t races = 0;
    for (; valid < found; ++valid) {
      if (Confirm(valid)) [[likely]]
        continue;
      ++races;
      if (!TakeHost(valid)) break;
    }
    if (valid < found) {
      // The first of them has been given back by TakeHost.
      for (uint32_t i = valid + 1; i < found; ++i) pins_.Lower(blocks_[i]);
      races += found - valid - 1;
    }
    if (races > 0) touches.CountRaces(races);
  }
  touches.Record(valid == 0 ? 0 : words_[valid - 1], valid,
                 valid < key_count ? keys_[valid] : BlockKey{});
  touches.Count(valid);
  if (valid == 0) return absl::OkStatus();
  SetPools(pools_, usable_, valid, prefix);
  prefix->ranges_.assign(
      1, {.group = group_, .first = 0, .count = valid, .offset = 0});
  prefix->tokens_ =
      uint64_t{valid} * attachment_->segments().group(group_).block_tokens;
  prefix->attachment_ = attachment_;
  return absl::OkStatus();
}

absl::Status Matcher::MatchPrefixAny(Attachment* attachment, uint32_t group,
                                     std::span<const BlockKey> keys,
                                     PinnedPrefix* prefix) {
  return AnyMatch(attachment, group, keys, prefix).Run(prefix);
}

}  // namespace kvferry::sdk
