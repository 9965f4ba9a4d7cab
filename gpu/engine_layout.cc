#include "gpu/engine_layout.h"

#include "absl/strings/str_cat.h"
#include "gpu/transfer_plan.h"
#include "protocol/page_bytes.h"

namespace kvferry::gpu {
namespace {

absl::Status CheckGroup(const GroupSpec& group) {
  // Nothing counts as none.
  if (protocol::PageBytes(group).value_or(0) != 0 && group.slice_count != 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "gpu: a page of group \"", group.name, "\" is ", group.layer_count,
      " layers x ", group.kv_count, " tensors x ", group.block_tokens,
      " tokens x ", group.head_count, " heads x ", group.head_bytes,
      " bytes, of ", group.slice_count,
      " slices; need at least 1 byte, less than 2^64, and 1 slice"));
}

}  // namespace

absl::Status EngineLayout::Check() const {
  if (absl::Status status = CheckGroup(group); !status.ok()) return status;
  if (layers.size() != group.layer_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: ", layers.size(), " layers, group \"", group.name,
                     "\" has ", group.layer_count));
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].base == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("gpu: layer ", i, " has no address"));
    }
  }
  if (block_count == 0) {
    return absl::InvalidArgumentError("gpu: memory of 0 blocks");
  }
  if (slice_first >= group.slice_count ||
      slice_count > group.slice_count - slice_first) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: slices [", slice_first, ", +", slice_count,
                     "), group \"", group.name, "\" has ", group.slice_count));
  }
  if (sub_blocks == 0 || group.block_tokens % sub_blocks != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: blocks in ", sub_blocks, " parts, group \"",
                     group.name, "\" has blocks of ", group.block_tokens,
                     " tokens, which that must divide"));
  }
  return absl::OkStatus();
}

uint64_t EngineLayout::RunBytes() const {
  const absl::StatusOr<TransferPlanner> planner =
      TransferPlanner::Create(*this);
  if (!planner.ok()) return 0;
  return planner->RunBytes();
}

}  // namespace kvferry::gpu
