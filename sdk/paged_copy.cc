#include <cstdint>
#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/copy.h"
#include "protocol/page_bytes.h"
#include "sdk/copy_plan.h"

namespace kvferry {
namespace {

// Layers [first, first + count) of a page.
struct Layers {
  uint32_t first = 0;
  uint32_t count = 0;
};

Layers AllOf(const GroupSpec& group) { return {0, group.layer_count}; }

absl::Status CheckLayers(const GroupSpec& group, Layers layers) {
  if (layers.first < group.layer_count && layers.count > 0 &&
      layers.count <= group.layer_count - layers.first) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("copy: layers [", layers.first, ", +", layers.count,
                   "), group \"", group.name, "\" has ", group.layer_count));
}

// `bytes` are those of `layers`, which CheckLayers let pass, or of a page.
absl::Status Validate(const GroupSpec& group, const PagedTensor& tensor,
                      Layers layers, std::span<const std::byte> bytes,
                      uint32_t valid_tokens) {
  const std::optional<uint64_t> group_bytes = protocol::PageBytes(group);
  if (!group_bytes.has_value() || *group_bytes == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "copy: a page of group \"", group.name, "\" is ", group.layer_count,
        " layers x ", group.kv_count, " tensors x ", group.block_tokens,
        " tokens x ", group.head_count, " heads x ", group.head_bytes,
        " bytes, need at least 1 byte and less than 2^64"));
  }
  if (bytes.size() != *group_bytes / group.layer_count * layers.count) {
    return absl::InvalidArgumentError(
        layers.count == group.layer_count
            ? absl::StrCat("copy: a page of ", bytes.size(), " bytes, group \"",
                           group.name, "\" has pages of ", *group_bytes)
            : absl::StrCat("copy: ", bytes.size(), " bytes of ", layers.count,
                           " layers, group \"", group.name, "\" has ",
                           *group_bytes / group.layer_count, " a layer"));
  }
  if (valid_tokens > group.block_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "copy: ", valid_tokens, " valid tokens, a block of group \"",
        group.name, "\" has ", group.block_tokens));
  }
  if (tensor.base == nullptr || bytes.data() == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("copy: the ", tensor.base == nullptr ? "tensor" : "page",
                     " has no address"));
  }
  return absl::OkStatus();
}

sdk::CopyPlan PlanFor(const GroupSpec& group, const PagedTensor& tensor,
                      Layers layers, uint32_t valid_tokens) {
  const uint64_t tokens = valid_tokens == 0 ? group.block_tokens : valid_tokens;
  const auto head = static_cast<int64_t>(group.head_bytes);
  const int64_t token = head * group.head_count;
  const int64_t kv = token * group.block_tokens;
  const int64_t layer = kv * group.kv_count;
  return sdk::CopyPlan({{{layers.count, tensor.layer_stride, layer},
                         {group.kv_count, tensor.kv_stride, kv},
                         {},
                         {tokens, tensor.token_stride, token},
                         {group.head_count, tensor.head_stride, head}}},
                       group.head_bytes);
}

// Where `layers` of an engine's block begin.
std::byte* BlockAddress(const PagedTensor& tensor, uint64_t engine_block,
                        Layers layers) {
  return reinterpret_cast<std::byte*>(
      reinterpret_cast<uintptr_t>(tensor.base) +
      static_cast<uint64_t>(tensor.block_stride) * engine_block +
      static_cast<uint64_t>(tensor.layer_stride) * layers.first);
}

absl::Status Gather(const GroupSpec& group, const PagedTensor& tensor,
                    uint64_t engine_block, Layers layers,
                    std::span<std::byte> bytes, uint32_t valid_tokens) {
  KVFERRY_RETURN_IF_ERROR(Validate(group, tensor, layers, bytes, valid_tokens));
  PlanFor(group, tensor, layers, valid_tokens)
      .ToPage(BlockAddress(tensor, engine_block, layers), bytes.data());
  return absl::OkStatus();
}

absl::Status Scatter(const GroupSpec& group, std::span<const std::byte> bytes,
                     Layers layers, const PagedTensor& tensor,
                     uint64_t engine_block, uint32_t valid_tokens) {
  KVFERRY_RETURN_IF_ERROR(Validate(group, tensor, layers, bytes, valid_tokens));
  PlanFor(group, tensor, layers, valid_tokens)
      .FromPage(BlockAddress(tensor, engine_block, layers), bytes.data());
  return absl::OkStatus();
}

}  // namespace

absl::Status GatherPage(const GroupSpec& group, const PagedTensor& tensor,
                        uint64_t engine_block, std::span<std::byte> page,
                        uint32_t valid_tokens) {
  return Gather(group, tensor, engine_block, AllOf(group), page, valid_tokens);
}

absl::Status ScatterPage(const GroupSpec& group,
                         std::span<const std::byte> page,
                         const PagedTensor& tensor, uint64_t engine_block,
                         uint32_t valid_tokens) {
  return Scatter(group, page, AllOf(group), tensor, engine_block, valid_tokens);
}

absl::Status ScatterLayers(const GroupSpec& group,
                           std::span<const std::byte> bytes, uint32_t layer,
                           uint32_t layers, const PagedTensor& tensor,
                           uint64_t engine_block, uint32_t valid_tokens) {
  const Layers part{layer, layers};
  absl::Status valid = CheckLayers(group, part);
  if (!valid.ok()) return valid;
  return Scatter(group, bytes, part, tensor, engine_block, valid_tokens);
}

absl::Status GatherLayers(const GroupSpec& group, const PagedTensor& tensor,
                          uint64_t engine_block, uint32_t layer,
                          uint32_t layers, std::span<std::byte> bytes,
                          uint32_t valid_tokens) {
  const Layers part{layer, layers};
  absl::Status valid = CheckLayers(group, part);
  if (!valid.ok()) return valid;
  return Gather(group, tensor, engine_block, part, bytes, valid_tokens);
}

}  // namespace kvferry
