// Many pages at once between the namespace's blocks and an engine's paged
// memory: what publications, prefixes and streams do with a PagedMemory.

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "sdk/attachment.h"
#include "sdk/client_impl.h"
#include "sdk/paged_check.h"
#include "sdk/publication_state.h"
#include "sdk/stream_state.h"

namespace kvferry {
namespace sdk {
namespace {

template <typename Group>
std::string Geometry(const Group& group) {
  return absl::StrCat(group.layer_count, " layers x ", group.kv_count,
                      " tensors x ", group.block_tokens, " tokens x ",
                      group.head_count, " heads x ", group.head_bytes,
                      " bytes in ", group.slice_count, " slices");
}

// Valid tokens of block i of `count`.
uint32_t TokensOf(size_t i, size_t count, uint32_t last_tokens) {
  return i + 1 == count ? last_tokens : 0;
}

}  // namespace

absl::Status CheckSameGeometry(const PagedMemory& memory, uint32_t group,
                               const protocol::GroupRecord& record) {
  const GroupSpec& spec = memory.group();
  if (spec.layer_count == record.layer_count &&
      spec.kv_count == record.kv_count &&
      spec.block_tokens == record.block_tokens &&
      spec.head_count == record.head_count &&
      spec.head_bytes == record.head_bytes &&
      spec.slice_count == record.slice_count) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("paged: the memory is of ", Geometry(spec), ", group ",
                   group, " is of ", Geometry(record)));
}

absl::StatusOr<uint32_t> PublicationState::Fill(
    uint32_t first, const PagedMemory& memory,
    std::span<const uint64_t> engine_blocks, uint32_t last_tokens) {
  const size_t count = engine_blocks.size();
  KVFERRY_RETURN_IF_ERROR(CheckRange("fill", first, count));
  const SegmentTable& segments = attachment_->segments();
  uint32_t filled = 0;
  int32_t checked = -1;  // the group that is like the memory's
  for (size_t i = 0; i < count; ++i) {
    if (engine_blocks[i] == kNoEngineBlock) continue;
    const auto position = static_cast<uint32_t>(first + i);
    const PublicationEntry entry =
        attachment_->channel().Look(record_, position);
    const uint32_t group = entry.group;
    if (static_cast<int32_t>(group) != checked) {
      KVFERRY_RETURN_IF_ERROR(
          CheckSameGeometry(memory, group, segments.group(group)));
      checked = static_cast<int32_t>(group);
    }
    if (ResidenceOf(entry) == BlockResidence::kGpu) {
      return absl::FailedPreconditionError(
          absl::StrCat("fill: position ", position, " is to be written in GPU ",
                       "pool ", uint32_t{entry.pool}, ": Gpu::PublishFrom"));
    }
    bool any = false;
    for (uint32_t slice = memory.slice_first(); slice < memory.slice_end();
         ++slice) {
      const std::span<std::byte> target = page(position, slice);
      if (target.empty()) continue;
      KVFERRY_RETURN_IF_ERROR(memory.Gather(engine_blocks[i], slice, target,
                                            TokensOf(i, count, last_tokens)));
      any = true;
    }
    filled += any ? 1 : 0;
  }
  return filled;
}

absl::Status StreamState::PullTo(const PrefixStream::PullOptions& options,
                                 const PagedMemory& memory,
                                 std::span<const uint64_t> engine_blocks,
                                 absl::Time deadline) {
  if (empty()) {
    return absl::FailedPreconditionError("stream: empty, Match fills it");
  }
  KVFERRY_RETURN_IF_ERROR(CheckSameGeometry(memory, options_.group, group()));
  if (engine_blocks.size() != key_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("stream: ", engine_blocks.size(), " engine blocks for ",
                     key_count(), " keys"));
  }
  for (const uint64_t block : engine_blocks) {
    if (block != kNoEngineBlock && block >= memory.block_count()) {
      return absl::InvalidArgumentError(absl::StrCat("stream: engine block ",
                                                     block, ", the memory has ",
                                                     memory.block_count()));
    }
  }
  PrefixStream::PullOptions pull = options;
  if (pull.slice_count == 0 && pull.slice_first == 0) {
    pull.slice_first = memory.slice_first();
    pull.slice_count = memory.slice_end() - memory.slice_first();
  }
  if (pull.slice_first < memory.slice_first() ||
      pull.slice_count > memory.slice_end() - pull.slice_first) {
    return absl::InvalidArgumentError(
        absl::StrCat("stream: slices [", pull.slice_first, ", +",
                     pull.slice_count, "), the memory has [",
                     memory.slice_first(), ", ", memory.slice_end(), ")"));
  }
  const uint32_t tail = options_.tail_tokens;
  absl::Status copied;  // all that can fail was checked above
  const absl::Status pulled = PullTo(
      pull,
      [&](uint32_t block, uint32_t slice, uint32_t layer, uint32_t layers,
          std::span<const std::byte> bytes) {
        if (engine_blocks[block] == kNoEngineBlock) return;
        copied.Update(memory.ScatterLayers(
            engine_blocks[block], slice, layer, layers, bytes,
            TokensOf(block, engine_blocks.size(), tail)));
      },
      deadline);
  return copied.ok() ? pulled : copied;
}

}  // namespace sdk

absl::StatusOr<uint32_t> Publication::Fill(
    uint32_t first, const PagedMemory& memory,
    std::span<const uint64_t> engine_blocks, uint32_t last_tokens) {
  if (state_ == nullptr) {
    return absl::FailedPreconditionError("publication: it was moved from");
  }
  return state_->Fill(first, memory, engine_blocks, last_tokens);
}

absl::Status PinnedPrefix::CopyTo(const PagedMemory& memory, uint32_t group,
                                  uint32_t first,
                                  std::span<const uint64_t> engine_blocks,
                                  uint32_t last_tokens) const {
  const Range* const range = Find(group);
  const size_t count = engine_blocks.size();
  if (count == 0) return Check();
  if (range == nullptr || first < range->first ||
      first - range->first > range->count ||
      count > range->count - (first - range->first)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "copy: positions [", first, ", +", count, ") of group ", group,
        ", pinned are [", first_block(group), ", +", block_count(group), ")"));
  }
  if (attachment_->forked()) return sdk::ForkedError();
  KVFERRY_RETURN_IF_ERROR(sdk::CheckSameGeometry(
      memory, group, attachment_->segments().group(group)));
  for (size_t i = 0; i < count && !pools_.empty(); ++i) {
    if (engine_blocks[i] == kNoEngineBlock) continue;
    const auto position = static_cast<uint32_t>(first + i);
    if (residence(position, group) == BlockResidence::kGpu) {
      return absl::FailedPreconditionError(
          absl::StrCat("copy: position ", position, " of group ", group,
                       " is pinned in a GPU: Gpu::PullTo"));
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (engine_blocks[i] == kNoEngineBlock) continue;
    const auto position = static_cast<uint32_t>(first + i);
    for (uint32_t slice = memory.slice_first(); slice < memory.slice_end();
         ++slice) {
      KVFERRY_RETURN_IF_ERROR(memory.Scatter(engine_blocks[i], slice,
                                             page(position, slice, group),
                                             i + 1 == count ? last_tokens : 0));
    }
  }
  return Check();
}

absl::Status PrefixStream::PullTo(const PullOptions& options,
                                  const PagedMemory& memory,
                                  std::span<const uint64_t> engine_blocks,
                                  absl::Time deadline) {
  if (state_ == nullptr) {
    return absl::FailedPreconditionError("stream: empty, Match fills it");
  }
  return state_->PullTo(options, memory, engine_blocks, deadline);
}

}  // namespace kvferry
