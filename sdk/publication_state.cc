#include "sdk/publication_state.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/limits.h"
#include "sdk/client_impl.h"

namespace kvferry::sdk {
namespace {

// How long a segment that was announced may take to arrive.
constexpr absl::Duration kSegmentTimeout = absl::Seconds(1);
// How long the daemon may take to answer an open.
constexpr absl::Duration kOpenTimeout = absl::Seconds(5);

absl::StatusOr<uint64_t> RandomWord() {
  uint64_t word = 0;
  while (word == 0) {
    if (::getrandom(&word, sizeof(word), 0) == sizeof(word)) continue;
    if (errno != EINTR) return ErrnoStatus(errno, "publish: getrandom");
    word = 0;
  }
  return word;
}

uint64_t SliceMask(uint32_t first, uint32_t count) {
  const uint64_t ones = count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
  return ones << first;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PublicationState>> PublicationState::Open(
    std::shared_ptr<Attachment> attachment, const PublicationOptions& options,
    absl::Time deadline) {
  uint32_t slice_count = 0;
  const SegmentTable& segments = attachment->segments();
  for (uint32_t g = 0; g < segments.group_count(); ++g) {
    slice_count = std::max(slice_count, segments.group(g).slice_count);
  }
  const uint32_t first = options.slice_first;
  const uint32_t count = options.slice_count == 0 && first < slice_count
                             ? slice_count - first
                             : options.slice_count;
  if (count == 0 || first >= slice_count || count > slice_count - first) {
    return absl::InvalidArgumentError(
        absl::StrCat("publish: slices [", first, ", +", options.slice_count,
                     "), the namespace has ", slice_count));
  }
  constexpr absl::Duration kStallMin =
      absl::Milliseconds(protocol::kStallMsMin);
  constexpr absl::Duration kStallMax =
      absl::Milliseconds(protocol::kStallMsMax);
  if (options.stall_timeout < kStallMin || options.stall_timeout > kStallMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "publish: stall timeout ", absl::FormatDuration(options.stall_timeout),
        ", must be ", absl::FormatDuration(kStallMin), " to ",
        absl::FormatDuration(kStallMax)));
  }
  uint64_t instance = options.engine_instance;
  uint64_t publication = options.publication;
  if (instance == 0) {
    KVFERRY_ASSIGN_OR_RETURN(instance, RandomWord());
    KVFERRY_ASSIGN_OR_RETURN(publication, RandomWord());
  }
  KVFERRY_ASSIGN_OR_RETURN(
      PublicationRecord * record,
      attachment->channel().Open(
          {.engine_instance = instance,
           .publication = publication,
           .slice_set = SliceMask(first, count),
           .stall_ms = static_cast<uint32_t>(
               absl::ToInt64Milliseconds(options.stall_timeout)),
           .standby = options.standby},
          deadline));
  return std::unique_ptr<PublicationState>(
      new PublicationState(std::move(attachment), record, options.residence));
}

PublicationState::~PublicationState() {
  if (attachment_->forked()) {
    // The parent's; its memory is not mapped here, so nothing may be undone.
    (void)new std::shared_ptr<Attachment>(std::move(attachment_));
    return;
  }
  attachment_->channel().WaitForHolds(record_, absl::InfiniteFuture());
  attachment_->channel().Abandon(record_);
}

uint32_t PublicationState::PoolFor(uint32_t group) const {
  if (residence_ != BlockResidence::kGpu) return 0;
  const GpuPools& pools = attachment_->gpu_pools();
  const uint32_t pool = pools.OwnPool(group);
  return pool != 0 && pools.Reachable(pool) ? pool : 0;
}

uint64_t PublicationState::SlicesOf(const protocol::GroupRecord& group) const {
  // A group with one slice is written whole by whoever begins it.
  if (group.slice_count == 1) return 1;
  return record_->slice_set() & SliceMask(0, group.slice_count);
}

absl::StatusOr<uint32_t> PublicationState::Begin(uint32_t group,
                                                 const BlockKey& parent,
                                                 std::span<const BlockKey> keys,
                                                 uint32_t tail_tokens,
                                                 absl::Time deadline) {
  if (attachment_->forked()) return ForkedError();
  const SegmentTable& segments = attachment_->segments();
  if (group >= segments.group_count()) {
    return absl::InvalidArgumentError(absl::StrCat("begin: group ", group,
                                                   ", the namespace has ",
                                                   segments.group_count()));
  }
  if (keys.empty() || keys.size() > protocol::kKeysPerCallMax) {
    return absl::InvalidArgumentError(absl::StrCat("begin: ", keys.size(),
                                                   " keys, must be 1 to ",
                                                   protocol::kKeysPerCallMax));
  }
  if (tail_tokens >= segments.group(group).block_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "begin: a tail of ", tail_tokens, " tokens, must be fewer than the ",
        segments.group(group).block_tokens, " of a block of group ", group));
  }
  if (SlicesOf(segments.group(group)) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("begin: slices 0x", absl::Hex(record_->slice_set()),
                     " are beyond group ", group, ", which has ",
                     segments.group(group).slice_count));
  }
  const IndexView& index = attachment_->index();
  const bool in_gpus = attachment_->gpu_pools().pool_count() > 0;
  const bool whole = record_->whole();
  ready_.assign(whole ? keys.size() : 0, 0);
  constexpr size_t kAhead = 16;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].is_none()) {
      return absl::InvalidArgumentError(
          absl::StrCat("begin: key ", i, " is zero, which means none"));
    }
    if (!whole) continue;
    if (i + kAhead < keys.size()) index.PrefetchTags(keys[i + kAhead]);
    const bool ready =
        in_gpus ? index.IsReadyAnywhere(keys[i]) : index.IsReady(keys[i]);
    ready_[i] = ready ? 1 : 0;
  }
  KVFERRY_ASSIGN_OR_RETURN(
      const uint32_t first,
      attachment_->channel().Begin(record_, group, parent, keys, tail_tokens,
                                   ready_, deadline, PoolFor(group)));
  size_ = first + static_cast<uint32_t>(keys.size());
  // Only ranks that join get a block of a pool that somebody else named.
  if (!segments.complete() || !segments.writable() || (in_gpus && !whole)) {
    GiveUpUnreachable(first, deadline);
  }
  return first;
}

void PublicationState::GiveUpUnreachable(uint32_t first, absl::Time deadline) {
  // The daemon announces a segment, or a pool's memory, before it grants a
  // block of it, but by the socket, which may be behind the rings; or mapping
  // it has failed here. A page that nobody can write must not be committed.
  deadline = std::min(deadline, absl::Now() + kSegmentTimeout);
  for (uint32_t p = first; p < size_; ++p) {
    for (;;) {
      const PublicationEntry entry = attachment_->channel().Look(record_, p);
      if (!IsWritten(entry.outcome) || Reaches(entry)) break;
      const bool never = entry.pool == 0
                             ? !attachment_->segments().writable()
                             : attachment_->gpu_pools().device() == nullptr;
      if (never || absl::Now() >= deadline) {
        attachment_->channel().AbortOne(record_, p);
        break;
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
}

BlockOutcome PublicationState::outcome(uint32_t position) {
  if (attachment_->forked() || position >= size_) return BlockOutcome::kVoid;
  return attachment_->channel().Look(record_, position).outcome;
}

BlockResidence PublicationState::residence(uint32_t position) {
  if (attachment_->forked() || position >= size_) return BlockResidence::kNone;
  return ResidenceOf(attachment_->channel().Look(record_, position));
}

BlockResidence PublicationState::ResidenceOf(const PublicationEntry& entry) {
  if (!IsWritten(entry.outcome) || entry.block == protocol::kNoBlock) {
    return BlockResidence::kNone;
  }
  return entry.pool == 0 ? BlockResidence::kHost : BlockResidence::kGpu;
}

bool PublicationState::Reaches(const PublicationEntry& entry) {
  return entry.pool == 0 ? BlockAddress(entry) != nullptr
                         : attachment_->gpu_pools().Reachable(entry.pool);
}

std::byte* PublicationState::BlockAddress(const PublicationEntry& entry) {
  if (!IsWritten(entry.outcome) || entry.block == protocol::kNoBlock ||
      entry.pool != 0 || !attachment_->segments().writable()) {
    return nullptr;
  }
  // The daemon announces a segment before it grants a block of it, but on
  // another way.
  if (!attachment_->MapSegmentOf(entry.group, entry.block)) return nullptr;
  return attachment_->segments().Address(entry.group, entry.block);
}

std::span<std::byte> PublicationState::page(uint32_t position, uint32_t slice) {
  if (attachment_->forked() || position >= size_) return {};
  const PublicationEntry entry = attachment_->channel().Look(record_, position);
  const protocol::GroupRecord& group =
      attachment_->segments().group(entry.group);
  if (slice >= group.slice_count || (SlicesOf(group) >> slice & 1) == 0) {
    return {};
  }
  std::byte* const block = BlockAddress(entry);
  if (block == nullptr) return {};
  return {block + slice * group.page_bytes, group.page_bytes};
}

std::span<std::byte> PublicationState::block(uint32_t position) {
  if (attachment_->forked() || position >= size_) return {};
  const PublicationEntry entry = attachment_->channel().Look(record_, position);
  std::byte* const block = BlockAddress(entry);
  if (block == nullptr) return {};
  const protocol::GroupRecord& group =
      attachment_->segments().group(entry.group);
  return {block, group.page_bytes * group.slice_count};
}

absl::Status PublicationState::CheckRange(const char* verb, uint32_t first,
                                          uint64_t count) const {
  if (attachment_->forked()) return ForkedError();
  if (uint64_t{first} + count <= size_) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(verb, ": positions [", first, ", +", count,
                   "), the publication has ", size_));
}

absl::Status PublicationState::CommitLayers(uint32_t first, uint32_t count,
                                            uint32_t layers) {
  KVFERRY_RETURN_IF_ERROR(CheckRange("commit layers", first, count));
  return attachment_->channel().CommitLayers(record_, first, count, layers);
}

absl::Status PublicationState::Commit(uint32_t first, uint32_t count) {
  KVFERRY_RETURN_IF_ERROR(CheckRange("commit", first, count));
  return attachment_->channel().Commit(record_, first, count);
}

absl::Status PublicationState::WaitForAnswers(absl::Time deadline) {
  if (attachment_->forked()) return ForkedError();
  return attachment_->channel().WaitForAnswers(record_, deadline);
}

absl::Status PublicationState::SetHandOver(absl::string_view bytes) {
  if (attachment_->forked()) return ForkedError();
  if (bytes.size() > protocol::kHandOverBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("hand-over: ", bytes.size(), " bytes, the limit is ",
                     protocol::kHandOverBytesMax));
  }
  return attachment_->channel().SetHandOver(record_, bytes,
                                            absl::Now() + kOpenTimeout);
}

absl::StatusOr<uint32_t> PublicationState::WaitForHandle(
    const Attachment& attachment, absl::Time deadline) {
  if (attachment_->forked()) return ForkedError();
  KVFERRY_RETURN_IF_ERROR(
      attachment_->channel().WaitForOpen(record_, deadline));
  if (attachment_.get() != &attachment) {
    return absl::InvalidArgumentError(
        "ticket: the publication is another Client's");
  }
  return record_->handle();
}

uint32_t PublicationState::CountVisible(uint32_t first, uint32_t count) {
  if (attachment_->forked()) return 0;
  return attachment_->channel().CountVisible(record_, first, count);
}

void PublicationState::Abort() {
  if (attachment_->forked()) return;
  attachment_->channel().WaitForHolds(record_, absl::InfiniteFuture());
  attachment_->channel().Abort(record_);
}

absl::Status PublicationState::Close(absl::Time deadline) {
  if (attachment_->forked()) return ForkedError();
  // What a device has not finished by then is aborted when it has.
  const bool held = !attachment_->channel().WaitForHolds(record_, deadline);
  attachment_->channel().Close(record_);
  if (held) {
    return absl::DeadlineExceededError(
        "close: a device is still writing the publication's pages");
  }
  return WaitForAnswers(deadline);
}

}  // namespace kvferry::sdk
