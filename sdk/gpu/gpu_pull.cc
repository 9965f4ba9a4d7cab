// GpuImpl's pulls: pinned blocks into the engine's.

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/client_impl.h"
#include "sdk/gpu/engine_blocks.h"
#include "sdk/gpu/gpu_impl.h"
#include "sdk/paged_check.h"

namespace kvferry::sdk {

// What one pull holds until its last byte has landed.
struct GpuImpl::PullState {
  PinnedPrefix prefix;
  std::unique_ptr<PageFinder> finder;
  std::vector<std::shared_ptr<const gpu::PreparedLayout>> layouts;
  std::vector<uint32_t> positions;
};

absl::Status GpuImpl::CheckPull(const PinnedPrefix& prefix,
                                const GpuPull& pull) {
  if (pull.memory == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: no memory for group ", pull.group));
  }
  const PinnedPrefix::Range* const range = prefix.Find(pull.group);
  const size_t count = pull.engine_blocks.size();
  if (range == nullptr || pull.first < range->first ||
      pull.first - range->first > range->count ||
      count > range->count - (pull.first - range->first)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu: positions [", pull.first, ", +", count, ") of group ", pull.group,
        ", pinned are [", prefix.first_block(pull.group), ", +",
        prefix.block_count(pull.group), ")"));
  }
  const protocol::GroupRecord& record =
      prefix.attachment_->segments().group(pull.group);
  KVFERRY_RETURN_IF_ERROR(CheckSameGeometry(*pull.memory, pull.group, record));
  return CheckEngineBlocks(*pull.memory, pull.engine_blocks, pull.last_tokens);
}

absl::Status GpuImpl::PlanPull(const PinnedPrefix& prefix,
                               std::span<const GpuPull> pulls,
                               PageFinder* finder, TransferEngine::Plan* plan) {
  const GpuPools& pools = prefix.attachment_->gpu_pools();
  for (const GpuPull& pull : pulls) {
    PageLists& list = plan->lists.emplace_back();
    KVFERRY_ASSIGN_OR_RETURN(list.layout,
                             engine_->layouts()->Get(*pull.memory));
    const uint64_t page_bytes =
        prefix.attachment_->segments().group(pull.group).page_bytes;
    for (size_t i = 0; i < pull.engine_blocks.size(); ++i) {
      if (pull.engine_blocks[i] == kNoEngineBlock) continue;
      const auto position = static_cast<uint32_t>(pull.first + i);
      const uint32_t block = prefix.BlockAt(position, pull.group);
      const uint32_t pool = pools.PoolOf(block);
      const BlockPlace place = finder->Find(
          pull.group, block, pool == 0 ? 0 : prefix.IncarnationOf(pool));
      if (place.home == BlockHome::kNowhere) {
        return absl::AbortedError(
            absl::StrCat("gpu: the memory of position ", position, " of group ",
                         pull.group, " is gone: it is a miss"));
      }
      list.Add(place, pull.engine_blocks[i], pull.memory->slice_first(),
               pull.memory->slice_end(), page_bytes,
               i + 1 == pull.engine_blocks.size() ? pull.last_tokens : 0);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GpuTransfer> GpuImpl::PullTo(PinnedPrefix* prefix,
                                            std::span<const GpuPull> pulls,
                                            void* stream,
                                            const GpuPullOptions& options) {
  if (forked()) return ForkedError();
  uint64_t named = 0;
  uint32_t layers = 1;
  for (const GpuPull& pull : pulls) {
    KVFERRY_RETURN_IF_ERROR(CheckPull(*prefix, pull));
    if ((named >> pull.group & 1) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("gpu: group ", pull.group, " is named twice"));
    }
    named |= uint64_t{1} << pull.group;
    layers = std::max(layers, pull.memory->group().layer_count);
  }
  if (pulls.empty()) {
    return absl::InvalidArgumentError("gpu: a pull of no group");
  }
  KVFERRY_RETURN_IF_ERROR(prefix->Check());

  auto state = std::make_shared<PullState>();
  state->finder = MakeFinder(prefix->attachment_);
  TransferEngine::Plan plan;
  plan.layers_a_piece = options.layers_a_piece;
  KVFERRY_RETURN_IF_ERROR(PlanPull(*prefix, pulls, state->finder.get(), &plan));
  if (state->finder->found_staged()) registrar_.LookSoon();
  for (const GpuPull& pull : pulls) {
    for (size_t i = 0; i < pull.engine_blocks.size(); ++i) {
      if (pull.engine_blocks[i] == kNoEngineBlock) continue;
      state->positions.push_back(static_cast<uint32_t>(pull.first + i));
    }
  }
  for (const PageLists& list : plan.lists) {
    state->layouts.push_back(list.layout);
  }

  KVFERRY_RETURN_IF_ERROR(engine_->Begin(stream));
  if (absl::Status status = engine_->Prepare(&plan, stream); !status.ok()) {
    engine_->Ended();
    return status;
  }
  // Nothing is refused from here on.
  state->prefix = std::move(*prefix);
  auto operation = std::make_shared<GpuOperation>(device_.get(), layers);
  operation->SetFinisher([this, state, operation = operation.get()]() mutable {
    FinishPull(state.get(), operation);
    state.reset();
    operation->Finish();
    engine_->Ended();
  });
  engine_->Start(std::move(plan), operation, /*tells_layers=*/true);
  operation->EndPart(absl::OkStatus());
  return GpuTransfer(std::move(operation));
}

void GpuImpl::FinishPull(PullState* state, GpuOperation* operation) {
  operation->Fail(state->prefix.Check());
  if (!operation->failure().ok()) {
    for (const uint32_t position : state->positions) operation->Skip(position);
  }
  state->prefix.Release();
}

}  // namespace kvferry::sdk
