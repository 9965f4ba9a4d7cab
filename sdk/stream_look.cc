// StreamState's look: what became of the blocks it has, which keys have come,
// how far their writers are.

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "protocol/pin_fence.h"
#include "sdk/matcher.h"
#include "sdk/stream_state.h"

namespace kvferry::sdk {

using protocol::PublicationRef;

namespace {

// Keys ahead whose index lines are fetched.
constexpr uint32_t kTagWindow = 16;
// Blocks ahead whose slots are fetched: a chunk's were last read when it was
// begun.
constexpr uint32_t kSlotWindow = 16;
// Without a daemon the index is frozen: one look at so many blocks that it had
// not committed is as good as one at all of them.
constexpr uint32_t kVerifiedWhenLost = 64;

}  // namespace

StreamState::Slot StreamState::ReadPinned(uint32_t i) const {
  const Block& block = blocks_[i];
  const IndexView& index = attachment_->index();
  InFlightHit now = index.ReadInFlight(keys_[i], block.slot, block.number());
  for (uint32_t reads = 0; now.retiring; ++reads) {
    if (reads == IndexView::kRetiringReads) return Slot::kGone;
    SpinPause();
    now = index.ReadInFlight(keys_[i], block.slot, block.number());
  }
  if ((now.word & ~IndexView::kStateMask) != block.place) return Slot::kGone;
  if (now.ready()) return Slot::kReady;
  return now.aux == block.aux && !block.firm ? Slot::kPending : Slot::kGone;
}

StreamState::Slot StreamState::Read(uint32_t i) const {
  const Block& block = blocks_[i];
  const uint64_t word = attachment_->index().WordOf(block.slot, block.number());
  if ((word & ~IndexView::kStateMask) != block.place) return Slot::kGone;
  switch (protocol::UnpackResidence(word).state) {
    case protocol::ResidenceState::kReady:
    case protocol::ResidenceState::kRetiring:  // finds the pin
      return Slot::kReady;
    case protocol::ResidenceState::kPending:
      return Slot::kPending;
    case protocol::ResidenceState::kFree:
      break;
  }
  return Slot::kGone;
}

bool StreamState::Look() {
  if (empty()) return false;
  changed_ = false;
  by_time_ = false;
  if (forked()) return false;
  lost_changes_ = attachment_->lost().load(std::memory_order_acquire);
  CheckRevoked();
  CheckPools();
  Verify();
  if (done()) return changed_;

  const bool may_grow =
      growth_.following() && (growth_.LookAtRecord(), growth_.open());
  const bool certain = Extend();
  Advance();
  if (status_.ok() && ok_ == block_count() && ok_ < key_count()) {
    if (!no_more_keys_.ok() ||
        (certain && !may_grow && !changed_ && !elsewhere_)) {
      Fail(EndOfKeys());
    } else if (!certain || elsewhere_) {
      by_time_ = true;
    }
  }
  SetLayers();
  CheckLost();
  if (changed_) short_step_ = absl::ZeroDuration();
  if (status_.ok() && done()) CaptureHandOver();
  return changed_;
}

void StreamState::Verify() {
  commit_word_ = nullptr;
  while (firm_ < ok_ && blocks_[firm_].firm) ++firm_;
  if (firm_ == ok_) return;
  const PublicationRef ref = blocks_[firm_].ref();
  commit_word_ = &attachment_->publication(ref.slot).changes;
  commit_changes_ = commit_word_->load(std::memory_order_acquire);
  const uint32_t end =
      lost_changes_ == 0 ? ok_ : std::min(ok_, firm_ + kVerifiedWhenLost);
  (void)ConfirmRange(firm_, end);
  while (firm_ < ok_ && blocks_[firm_].firm) ++firm_;
  // Waited for by time then: another's record would have to be read before.
  if (firm_ < ok_ && blocks_[firm_].ref().slot != ref.slot) {
    commit_word_ = nullptr;
  }
}

InFlightHit StreamState::FindResidence(const BlockKey& key,
                                       const UsablePools& usable) {
  const IndexView& index = attachment_->index();
  const GpuPools& pools = attachment_->gpu_pools();
  if (pools.pool_count() == 0) return index.FindInFlight(key);
  const ResidenceHits hits = index.FindResidences(key);
  const uint32_t pool = hits.gpu.found() ? pools.PoolOf(hits.gpu.block()) : 0;
  InFlightHit first = hits.host;
  InFlightHit second;
  if (pool != 0 && pools.used() && usable.incarnation(pool) != 0) {
    second = hits.gpu;
    if (usable.gpu_first) std::swap(first, second);
  }
  // What is there already before what is being written.
  if (first.found() && first.ready()) return first;
  if (second.found() && second.ready()) return second;
  if (first.found()) return first;
  if (second.found()) return second;
  if (pool == 0 || !options_.include_in_flight) return {};
  elsewhere_ = true;
  // Its publication may bring more keys.
  const PublicationRef ref = protocol::UnpackPublicationRef(hits.gpu.aux);
  if (!hits.gpu.ready() && ref.followable() &&
      (!growth_.following() || !growth_.open())) {
    FollowGrowth(ref);
  }
  return {};
}

bool StreamState::Pin(const InFlightHit& hit) {
  if (!attachment_->pins().Raise(hit.block())) {
    no_more_keys_ = absl::ResourceExhaustedError(absl::StrCat(
        "stream: block ", hit.block(), " has ", protocol::kPinsPerBlockMax,
        " pins of this session, the limit; release some"));
    return false;
  }
  blocks_.push_back({.place = hit.word & ~IndexView::kStateMask,
                     .slot = hit.slot,
                     .aux = hit.aux,
                     .firm = hit.ready()});
  return true;
}

bool StreamState::Extend() {
  elsewhere_ = false;
  if (!no_more_keys_.ok() || block_count() == key_count()) return true;
  const IndexView& index = attachment_->index();
  UsablePools usable = attachment_->gpu_pools().Usable();
  const uint32_t first = block_count();
  for (uint32_t i = first; i < key_count(); ++i) {
    if (i + kTagWindow < key_count()) index.PrefetchTags(keys_[i + kTagWindow]);
    const InFlightHit hit = FindResidence(keys_[i], usable);
    // A key of another group, or a word that makes no sense, is no hit here.
    if (!hit.found() || (!hit.ready() && !options_.include_in_flight) ||
        !attachment_->HasBlock(options_.group, hit.block()) || !Pin(hit)) {
      break;
    }
  }
  if (block_count() == first) return true;
  protocol::PinFence();
  Matcher::WithdrawFallen(attachment_->gpu_pools(), &usable);
  uint32_t valid = first;
  for (; valid < block_count(); ++valid) {
    const uint32_t pool =
        attachment_->gpu_pools().PoolOf(blocks_[valid].number());
    if (pool != 0 && usable.incarnation(pool) == 0) break;
    const Slot slot = ReadPinned(valid);
    if (slot == Slot::kGone) break;
    blocks_[valid].firm = slot == Slot::kReady;
    if (pool == 0) continue;
    first_in_gpu_ = std::min(first_in_gpu_, valid);
    if (IncarnationOf(pool) == 0) {
      pools_.push_back({pool, usable.incarnation(pool)});
    }
  }
  const bool certain = valid == block_count();
  while (block_count() > valid) {
    attachment_->pins().Lower(blocks_.back().number());
    blocks_.pop_back();
  }
  if (valid == first) return certain;
  changed_ = true;
  // Without a hint, or when it brings nothing more: whoever writes the last.
  for (uint32_t i = valid; i-- > first;) {
    const PublicationRef ref = blocks_[i].ref();
    if (blocks_[i].firm || !ref.followable()) continue;
    if (!growth_.following() || !growth_.open()) FollowGrowth(ref);
    break;
  }
  return certain;
}

void StreamState::FollowGrowth(PublicationRef ref) {
  if (growth_.Follows(ref)) return;
  growth_.Follow(attachment_.get(), ref, group().slice_count);
  // With its writers, whose hand-over data may be asked for later.
  growth_.Look();
}

void StreamState::Advance() {
  const uint32_t before = ok_;
  bool looked = false;
  while (ok_ < block_count()) {
    if (ok_ + kSlotWindow < block_count()) {
      const Block& ahead = blocks_[ok_ + kSlotWindow];
      attachment_->index().PrefetchWord(ahead.slot, ahead.number());
    }
    Block& block = blocks_[ok_];
    const PublicationRef ref = block.ref();
    const bool followed = ref.followable() && !block.firm;
    if (followed && !head_.Follows(ref)) {
      head_.Follow(attachment_.get(), ref, group().slice_count);
      looked = false;
    }
    if (followed && !looked) {
      head_.Look();
      looked = true;
    }
    // After the writers' progress, in this order (INV-STREAM-2).
    const Slot slot = block.firm ? Slot::kReady : Read(ok_);
    if (slot == Slot::kGone) {
      FailAt(ok_);
      return;
    }
    if (slot == Slot::kReady) {
      block.firm = true;
    } else if (!followed || ref.position >= head_.positions()) {
      if (followed && ref.position >= head_.given_up_at()) {
        FailAt(ok_);
        return;
      }
      by_time_ |= !followed || head_.unresolved() || !head_.open();
      break;
    }
    ++ok_;
  }
  changed_ |= ok_ != before;
}

void StreamState::SetLayered(uint32_t end, uint32_t layers) {
  changed_ |= layers != layers_ || (layers != 0 && end != layered_end_);
  layered_end_ = end;
  layers_ = layers;
}

void StreamState::SetLayers() {
  if (!status_.ok() || ok_ == block_count()) return SetLayered(ok_, 0);
  const PublicationRef ref = blocks_[ok_].ref();
  if (!ref.followable() || !head_.Follows(ref) || head_.layers() == 0 ||
      ref.position < head_.positions() || ref.position >= head_.chunk_end()) {
    return SetLayered(ok_, 0);
  }
  // The end is searched once a chunk, and goes on when blocks are added.
  uint32_t end = ok_ + 1;
  if (layered_generation_ == ref.generation &&
      layered_chunk_end_ == head_.chunk_end()) {
    end = std::max(end, layered_end_);
  }
  layered_generation_ = ref.generation;
  layered_chunk_end_ = head_.chunk_end();
  while (end < block_count()) {
    const PublicationRef next = blocks_[end].ref();
    if (!blocks_[end].firm &&
        (!head_.Follows(next) || next.position >= head_.chunk_end())) {
      break;
    }
    ++end;
  }
  SetLayered(end, std::min(head_.layers(), layer_count()));
}

uint32_t StreamState::ConfirmRange(uint32_t first, uint32_t end) {
  // What was read out of the pages is read before the slots are.
  std::atomic_thread_fence(std::memory_order_acquire);
  for (uint32_t i = std::max(first, firm_); i < end; ++i) {
    if (i + kSlotWindow < end) {
      const Block& ahead = blocks_[i + kSlotWindow];
      attachment_->index().PrefetchWord(ahead.slot, ahead.number());
    }
    if (blocks_[i].firm) continue;
    const Slot slot = Read(i);
    if (slot == Slot::kReady) {
      blocks_[i].firm = true;
    } else if (slot == Slot::kGone) {
      FailAt(i);
      end = i;
    }
  }
  CheckRevoked();
  CheckPools();
  return std::min(end, ok_);
}

uint32_t StreamState::Confirm(uint32_t blocks) {
  if (empty() || forked()) return 0;
  return ConfirmRange(0, std::min(blocks, ok_));
}

}  // namespace kvferry::sdk
