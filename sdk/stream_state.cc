#include "sdk/stream_state.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace kvferry::sdk {

using protocol::kKeysPerCallMax;
using protocol::PublicationRef;
using protocol::ResidenceState;

namespace {

// Keys whose index lines are fetched before the first look.
constexpr uint32_t kTagWindow = 16;
// Looks that a match takes, should a publisher be that busy.
constexpr int kFirstLooksMax = 8;
// How long a stream waits for a publisher while no daemon is there to tell
// whether that one lives.
constexpr absl::Duration kLostPatience = absl::Seconds(1);

}  // namespace

// --- start and end -------------------------------------------------------

absl::Status StreamState::CheckArguments(const Attachment& attachment,
                                         std::span<const BlockKey> keys,
                                         const StreamOptions& options) const {
  if (keys.empty() || keys.size() > kKeysPerCallMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stream: ", keys.size(), " keys, must be 1 to ", kKeysPerCallMax));
  }
  const SegmentTable& segments = attachment.segments();
  if (options.group >= segments.group_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("stream: group ", options.group, ", the namespace has ",
                     segments.group_count()));
  }
  const protocol::GroupRecord& record = segments.group(options.group);
  if (record.hit_rule != static_cast<uint32_t>(HitRule::kAllPrefix)) {
    return absl::InvalidArgumentError(
        absl::StrCat("stream: group ", options.group, " has hit rule ",
                     record.hit_rule, ", must be kAllPrefix"));
  }
  if (options.tail_tokens >= record.block_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stream: a tail of ", options.tail_tokens, " tokens, a block of group ",
        options.group, " has ", record.block_tokens));
  }
  if (options.publication.slot >= protocol::kPublicationSlots) {
    return absl::InvalidArgumentError(
        absl::StrCat("stream: publication slot ", options.publication.slot,
                     ", there are ", protocol::kPublicationSlots));
  }
  return absl::OkStatus();
}

absl::Status StreamState::Start(std::shared_ptr<Attachment> attachment,
                                std::shared_ptr<StreamWatcher> watcher,
                                std::span<const BlockKey> keys,
                                const StreamOptions& options) {
  Release();
  if (absl::Status status = CheckArguments(*attachment, keys, options);
      !status.ok()) {
    return status;
  }
  attachment_ = std::move(attachment);
  watcher_ = std::move(watcher);
  options_ = options;
  keys_.assign(keys.begin(), keys.end());
  blocks_.reserve(keys_.size());
  content_epoch_ =
      attachment_->header().content_epoch.load(std::memory_order_acquire);
  const PublicationHint& hint = options.publication;
  if (options.include_in_flight && hint.generation != 0) {
    FollowGrowth({.generation = hint.generation, .slot = hint.slot});
  }
  for (uint32_t i = 0; i < key_count() && i < kTagWindow; ++i) {
    attachment_->index().PrefetchTags(keys_[i]);
  }
  // A look that found something may have more to see.
  for (int look = 0; look < kFirstLooksMax && Look(); ++look) {
  }
  uint32_t ready = 0;
  while (ready < block_count() && blocks_[ready].firm) ++ready;
  Touch(ready, block_count() < key_count() ? keys_[block_count()] : BlockKey{});
  attachment_->touches().Count(ready);
  return absl::OkStatus();
}

void StreamState::Release() {
  if (empty()) return;
  if (event_fd_.valid()) watcher_->Remove(watch_id_);
  event_fd_ = UniqueFd();
  watch_id_ = 0;
  if (firm_ > touched_) Touch(firm_, BlockKey{});
  for (const Block& block : blocks_) attachment_->pins().Lower(block.number());
  // Memory of keys and blocks is kept for the next stream.
  keys_.clear();
  blocks_.clear();
  pools_.clear();
  first_in_gpu_ = ~uint32_t{0};
  head_.Forget();
  growth_.Forget();
  firm_ = ok_ = layered_end_ = layers_ = touched_ = 0;
  layered_generation_ = layered_chunk_end_ = 0;
  status_ = no_more_keys_ = absl::OkStatus();
  commit_word_ = nullptr;
  waiter_.Clear();
  changed_ = by_time_ = elsewhere_ = false;
  short_step_ = absl::ZeroDuration();
  moved_at_ = absl::InfinitePast();
  hand_over_.reset();
  copied_ = copied_layers_end_ = copied_layers_ = 0;
  copied_slice_first_ = copied_slice_count_ = 0;
  watcher_.reset();
  attachment_.reset();
}

void StreamState::Touch(uint32_t blocks, const BlockKey& missed) {
  const uint64_t deepest =
      blocks == 0 ? 0
                  : blocks_[blocks - 1].place |
                        static_cast<uint64_t>(ResidenceState::kReady);
  attachment_->touches().Record(deepest, blocks, missed);
  touched_ = blocks;
}

// --- what is there -------------------------------------------------------

uint64_t StreamState::ok_tokens() const {
  if (ok_ == 0) return 0;
  const uint32_t block_tokens = group().block_tokens;
  const uint64_t tokens = uint64_t{ok_} * block_tokens;
  return options_.tail_tokens != 0 && ok_ == keys_.size()
             ? tokens - block_tokens + options_.tail_tokens
             : tokens;
}

std::span<const std::byte> StreamState::page(uint32_t block,
                                             uint32_t slice) const {
  // Checked: a wrong block would read somebody else's prompt.
  if (block >= blocks_.size() || forked()) return {};
  const protocol::GroupRecord& record = group();
  if (slice >= record.slice_count ||
      blocks_[block].number() >= attachment_->index().host_blocks()) {
    return {};
  }
  const std::byte* base =
      attachment_->segments().Address(options_.group, blocks_[block].number());
  return {base + slice * record.page_bytes, record.page_bytes};
}

// --- failure -------------------------------------------------------------

void StreamState::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
  layered_end_ = ok_;
  layers_ = 0;
  changed_ = true;
}

void StreamState::FailAt(uint32_t block) {
  ok_ = std::min(ok_, block);
  firm_ = std::min(firm_, ok_);
  Fail(Gone(block));
}

absl::Status StreamState::Gone(uint32_t block) const {
  const char* why = "left the index (aborted, or past its deadline)";
  const PublicationRef ref = blocks_[block].ref();
  const GpuPools& pools = attachment_->gpu_pools();
  const uint32_t pool = pools.PoolOf(blocks_[block].number());
  if (pool != 0 && !pools.Stands(pool, IncarnationOf(pool))) {
    why = "went with the worker of its GPU";
  } else if (attachment_->header().content_epoch.load(
                 std::memory_order_acquire) != content_epoch_) {
    why = "is gone: the namespace was cleared";
  } else if (head_.Follows(ref) && ref.position >= head_.given_up_at()) {
    why = "was given up by its writer";
  } else if (head_.Follows(ref) && !head_.open()) {
    why = "did not complete before its publication ended";
  }
  return absl::AbortedError(
      absl::StrCat("stream: block ", block, " of ", key_count(), " ", why));
}

absl::Status StreamState::InGpuError() const {
  return absl::FailedPreconditionError(
      absl::StrCat("stream: block ", first_in_gpu_, " of ", key_count(),
                   " is in a GPU: Gpu::Follow copies it"));
}

absl::Status StreamState::EndOfKeys() const {
  if (!no_more_keys_.ok()) return no_more_keys_;
  return absl::NotFoundError(
      absl::StrCat("stream: key ", block_count(), " of ", key_count(),
                   growth_.following()
                       ? " is not there, and the publication followed has ended"
                       : " is not there, and nobody is known to write it"));
}

void StreamState::CheckRevoked() {
  if (!attachment_->revoked()) return;
  // The daemon counts none of the pins any more.
  ok_ = firm_ = 0;
  Fail(absl::AbortedError(
      "stream: the daemon revoked this session's pins: discard what was read"));
}

uint32_t StreamState::IncarnationOf(uint32_t pool) const {
  for (const PoolUse& use : pools_) {
    if (use.pool == pool) return use.incarnation;
  }
  return 0;
}

void StreamState::CheckPools() {
  const GpuPools& pools = attachment_->gpu_pools();
  for (const PoolUse& use : pools_) {
    if (pools.Stands(use.pool, use.incarnation)) continue;
    uint32_t block = 0;
    while (block < ok_ && pools.PoolOf(blocks_[block].number()) != use.pool) {
      ++block;
    }
    if (block < block_count()) FailAt(block);
  }
}

void StreamState::CheckLost() {
  if (lost_changes_ == 0 || done()) return;
  const absl::Time now = absl::Now();
  if (changed_ || moved_at_ == absl::InfinitePast()) {
    moved_at_ = now;
  } else if (now - moved_at_ > kLostPatience) {
    Fail(absl::UnavailableError(absl::StrCat(
        "stream: the daemon is away, and nothing came for block ", ok_, " of ",
        key_count(), " for ", absl::FormatDuration(kLostPatience))));
  }
}

// --- hand-over data ------------------------------------------------------

// Kept now, before the writer closes and its record is another's.
void StreamState::CaptureHandOver() {
  if (hand_over_.has_value()) return;
  std::string data;
  const bool followed_head =
      head_.following() &&
      (!growth_.following() || growth_.Follows(head_.ref()));
  if ((followed_head && head_.CopyHandOver(&data)) ||
      (growth_.following() && growth_.CopyHandOver(&data))) {
    hand_over_ = std::move(data);
  }
}

absl::StatusOr<std::string> StreamState::hand_over() {
  if (!empty()) {
    // The last call of SetHandOver counts, so what is there now comes first.
    std::optional<std::string> before = std::exchange(hand_over_, std::nullopt);
    if (growth_.following()) growth_.Look();
    CaptureHandOver();
    if (!hand_over_.has_value()) hand_over_ = std::move(before);
    if (hand_over_.has_value()) return *hand_over_;
  }
  return absl::NotFoundError(
      "stream: no hand-over data, or their publication has ended");
}

}  // namespace kvferry::sdk
