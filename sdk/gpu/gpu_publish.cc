// GpuImpl's publications: the engine's blocks into the namespace's.

#include <bit>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/client_impl.h"
#include "sdk/gpu/engine_blocks.h"
#include "sdk/gpu/gpu_impl.h"
#include "sdk/gpu/publish_line.h"
#include "sdk/paged_check.h"
#include "sdk/publication_state.h"

namespace kvferry::sdk {
namespace {

// The slices that both have, when they lie next to each other: [first, end).
struct SliceRange {
  uint32_t first = 0;
  uint32_t end = 0;
};

SliceRange CommonSlices(uint64_t writes, const PagedMemory& memory) {
  SliceRange common{memory.slice_first(), memory.slice_first()};
  for (uint32_t s = memory.slice_first(); s < memory.slice_end(); ++s) {
    if ((writes >> s & 1) == 0) continue;
    if (common.first == common.end) common.first = s;
    common.end = s + 1;
  }
  return common;
}

}  // namespace

absl::Status GpuImpl::CheckPublish(PublicationState* state, uint32_t first,
                                   const PagedMemory& memory,
                                   std::span<const uint64_t> engine_blocks,
                                   const GpuPublishOptions& options) const {
  KVFERRY_RETURN_IF_ERROR(
      state->CheckRange("gpu publish", first, engine_blocks.size()));
  KVFERRY_RETURN_IF_ERROR(
      CheckEngineBlocks(memory, engine_blocks, options.last_tokens));
  const uint32_t layer_count = memory.group().layer_count;
  if (options.first_layer >= layer_count ||
      options.layer_count > layer_count - options.first_layer) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: layers [", options.first_layer, ", +",
                     options.layer_count, "), the memory has ", layer_count));
  }
  return absl::OkStatus();
}

absl::StatusOr<GpuTransfer> GpuImpl::PublishFrom(
    PublicationState* state, uint32_t first, const PagedMemory& memory,
    std::span<const uint64_t> engine_blocks, void* stream,
    const GpuPublishOptions& options) {
  if (forked()) return ForkedError();
  if (state == nullptr) {
    return absl::FailedPreconditionError("publication: it was moved from");
  }
  KVFERRY_RETURN_IF_ERROR(
      CheckPublish(state, first, memory, engine_blocks, options));
  const uint32_t layer_count = memory.group().layer_count;
  const gpu::LayerRange layers{options.first_layer,
                               options.layer_count == 0
                                   ? layer_count - options.first_layer
                                   : options.layer_count};
  const bool in_parts = layers.first != 0 || layers.count != layer_count;
  const bool last_part = layers.first + layers.count == layer_count;
  const auto count = static_cast<uint32_t>(engine_blocks.size());
  if (state->device_state() == nullptr) {
    state->device_state() = std::make_shared<PublishLine>();
  }
  const auto line =
      std::static_pointer_cast<PublishLine>(state->device_state());
  KVFERRY_RETURN_IF_ERROR(line->CheckLayers(first, count, layers, layer_count));

  const std::shared_ptr<Attachment> attachment = state->attachment();
  auto finder = MakeFinder(attachment.get());
  TransferEngine::Plan plan;
  plan.way = CopyWay::kOut;
  plan.layers = layers;
  plan.lists.resize(1);
  KVFERRY_ASSIGN_OR_RETURN(plan.lists[0].layout,
                           engine_->layouts()->Get(memory));
  auto entry = std::make_shared<PublishEntry>();
  entry->first = first;
  entry->count = count;
  entry->layers = last_part ? 0 : layers.first + layers.count;
  entry->commit = options.commit;
  std::vector<uint32_t> skipped;
  std::vector<uint32_t> unreachable;
  int32_t checked = -1;  // the group that is like the memory's
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t position = first + i;
    const PublicationEntry now = state->Look(position);
    if (engine_blocks[i] != kNoEngineBlock && now.group != checked) {
      KVFERRY_RETURN_IF_ERROR(CheckSameGeometry(
          memory, now.group, attachment->segments().group(now.group)));
      checked = now.group;
    }
    const bool writes =
        PublicationState::ResidenceOf(now) != BlockResidence::kNone &&
        !line->Spoilt(position);
    if (engine_blocks[i] == kNoEngineBlock) {
      // Told of as written, layer by layer, it would have to be.
      if (!writes || !in_parts) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "gpu: position ", position,
          " is to be written, and left out of a chunk that goes by layers"));
    }
    if (!writes) {
      skipped.push_back(position);
      continue;
    }
    const protocol::GroupRecord& record =
        attachment->segments().group(now.group);
    const SliceRange slices = CommonSlices(state->SlicesOf(record), memory);
    if (slices.first == slices.end) {
      skipped.push_back(position);
      continue;
    }
    const BlockPlace place = finder->Find(now.group, now.block);
    if (place.home == BlockHome::kNowhere) {
      unreachable.push_back(position);
      continue;
    }
    plan.lists[0].Add(place, engine_blocks[i], slices.first, slices.end,
                      record.page_bytes,
                      i + 1 == count ? options.last_tokens : 0);
    entry->written.push_back(
        {.position = position,
         .block = now.block,
         .pool = now.pool,
         .incarnation = now.pool == 0 ? 0 : finder->IncarnationOf(now.pool)});
  }
  if (finder->found_staged()) registrar_.LookSoon();

  KVFERRY_RETURN_IF_ERROR(engine_->Begin(stream));
  if (absl::Status status = engine_->Prepare(&plan, stream); !status.ok()) {
    engine_->Ended();
    return status;
  }
  // Nothing is refused from here on.
  auto operation = std::make_shared<GpuOperation>(device_.get(),
                                                  layers.first + layers.count);
  entry->operation = operation;
  for (const uint32_t position : skipped) operation->Skip(position);
  for (const uint32_t position : unreachable) {
    operation->Skip(position);
    operation->Fail(absl::AbortedError(
        absl::StrCat("gpu: the memory of position ", position, " is gone")));
    entry->written.push_back({.position = position});
  }
  state->Hold();
  entry->finish = [this, state, operation,
                   attachment = std::shared_ptr<Attachment>(attachment),
                   finder = std::shared_ptr<PageFinder>(std::move(finder)),
                   layout = plan.lists[0].layout]() mutable {
    finder.reset();
    layout.reset();
    operation->Finish();
    state->Release();
    attachment.reset();
    engine_->Ended();
  };
  operation->SetFinisher([line, entry, state]() mutable {
    // The line has one, too, until it is settled.
    PublishEntry* const ended = entry.get();
    entry.reset();
    line->End(ended, state);
  });
  line->Enter(std::move(entry), layers);
  engine_->Start(std::move(plan), operation, /*tells_layers=*/true);
  operation->EndPart(absl::OkStatus());
  return GpuTransfer(std::move(operation));
}

}  // namespace kvferry::sdk
