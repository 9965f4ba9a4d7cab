#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/paged.h"
#include "protocol/page_bytes.h"
#include "sdk/copy_plan.h"

namespace kvferry {
namespace {

absl::Status CheckGroup(const GroupSpec& group) {
  // Nothing counts as none.
  if (protocol::PageBytes(group).value_or(0) != 0 && group.slice_count != 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "paged: a page of group \"", group.name, "\" is ", group.layer_count,
      " layers x ", group.kv_count, " tensors x ", group.block_tokens,
      " tokens x ", group.head_count, " heads x ", group.head_bytes,
      " bytes, of ", group.slice_count,
      " slices; need at least 1 byte, less than 2^64, and 1 slice"));
}

absl::Status CheckOptions(const GroupSpec& group, const PagedOptions& options) {
  if (options.layers.size() != group.layer_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("paged: ", options.layers.size(), " layers, group \"",
                     group.name, "\" has ", group.layer_count));
  }
  for (size_t i = 0; i < options.layers.size(); ++i) {
    if (options.layers[i].base == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("paged: layer ", i, " has no address"));
    }
  }
  if (options.block_count == 0) {
    return absl::InvalidArgumentError("paged: memory of 0 blocks");
  }
  if (options.slice_first >= group.slice_count ||
      options.slice_count > group.slice_count - options.slice_first) {
    return absl::InvalidArgumentError(absl::StrCat(
        "paged: slices [", options.slice_first, ", +", options.slice_count,
        "), group \"", group.name, "\" has ", group.slice_count));
  }
  if (options.sub_blocks == 0 || group.block_tokens % options.sub_blocks != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("paged: blocks in ", options.sub_blocks,
                     " parts, group \"", group.name, "\" has blocks of ",
                     group.block_tokens, " tokens, which that must divide"));
  }
  return absl::OkStatus();
}

// The stride from each layer to the next, when they have one and are alike.
bool EvenStride(const std::vector<PagedLayer>& layers, int64_t* stride) {
  const auto address = [&](size_t i) {
    return reinterpret_cast<uintptr_t>(layers[i].base);
  };
  *stride =
      layers.size() == 1 ? 0 : static_cast<int64_t>(address(1) - address(0));
  for (size_t i = 1; i < layers.size(); ++i) {
    const PagedLayer& layer = layers[i];
    const PagedLayer& first = layers.front();
    if (layer.kv_stride != first.kv_stride ||
        layer.block_stride != first.block_stride ||
        layer.token_stride != first.token_stride ||
        layer.head_stride != first.head_stride ||
        static_cast<int64_t>(address(i) - address(i - 1)) != *stride) {
      return false;
    }
  }
  return true;
}

}  // namespace

struct PagedMemory::Impl {
  GroupSpec group;
  PagedOptions options;
  bool even = false;
  int64_t layer_stride = 0;  // when even
  // Whole pages: one plan when even, else one a layer.
  std::vector<sdk::CopyPlan> plans;

  int64_t page_token_stride() const {
    return static_cast<int64_t>(group.token_bytes());
  }
  int64_t page_layer_stride() const {
    return page_token_stride() * group.block_tokens * group.kv_count;
  }
  uint32_t part_tokens() const {
    return group.block_tokens / options.sub_blocks;
  }

  // Of `layers` layers like `layer`, `parts` parts of `tokens` tokens each.
  sdk::CopyPlan PlanFor(const PagedLayer& layer, uint32_t layers,
                        uint32_t parts, uint32_t tokens) const {
    const int64_t token = page_token_stride();
    return sdk::CopyPlan(
        {{{layers, layer_stride, page_layer_stride()},
          {group.kv_count, layer.kv_stride, token * group.block_tokens},
          {parts, layer.block_stride, token * part_tokens()},
          {tokens, layer.token_stride, token},
          {group.head_count, layer.head_stride, group.head_bytes}}},
        group.head_bytes);
  }

  std::byte* Address(const PagedLayer& layer, uint64_t engine_block,
                     uint32_t slice, uint32_t part) const {
    const uint64_t block = engine_block * options.sub_blocks + part;
    const uint64_t head =
        uint64_t{slice - options.slice_first} * group.head_count;
    return reinterpret_cast<std::byte*>(
        reinterpret_cast<uintptr_t>(layer.base) +
        static_cast<uint64_t>(layer.block_stride) * block +
        static_cast<uint64_t>(layer.head_stride) * head);
  }

  absl::Status Check(uint64_t engine_block, uint32_t slice, uint32_t layer,
                     uint32_t layers, size_t bytes,
                     uint32_t valid_tokens) const {
    if (engine_block >= options.block_count) {
      return absl::InvalidArgumentError(
          absl::StrCat("paged: engine block ", engine_block,
                       ", the memory has ", options.block_count));
    }
    if (slice - options.slice_first >= options.slice_count) {
      return absl::InvalidArgumentError(
          absl::StrCat("paged: slice ", slice, ", the memory has slices [",
                       options.slice_first, ", +", options.slice_count, ")"));
    }
    if (layer >= group.layer_count || layers == 0 ||
        layers > group.layer_count - layer) {
      return absl::InvalidArgumentError(
          absl::StrCat("paged: layers [", layer, ", +", layers, "), group \"",
                       group.name, "\" has ", group.layer_count));
    }
    const uint64_t expected = group.page_bytes() / group.layer_count * layers;
    if (bytes != expected) {
      return absl::InvalidArgumentError(absl::StrCat(
          "paged: ", bytes, " bytes for ", layers,
          " layers of a page, group \"", group.name, "\" has ", expected));
    }
    if (valid_tokens > group.block_tokens) {
      return absl::InvalidArgumentError(absl::StrCat(
          "paged: ", valid_tokens, " valid tokens, a block of group \"",
          group.name, "\" has ", group.block_tokens));
    }
    return absl::OkStatus();
  }

  // Calls `copy(plan, memory address, page offset)` for what one plan covers.
  template <typename Copy>
  void ForEach(uint64_t engine_block, uint32_t slice, uint32_t layer,
               uint32_t layers, uint32_t valid_tokens, const Copy& copy) const {
    const uint32_t tokens =
        valid_tokens == 0 ? group.block_tokens : valid_tokens;
    const bool whole = tokens == group.block_tokens;
    const uint32_t whole_parts = tokens / part_tokens();
    const uint32_t rest = tokens % part_tokens();
    const uint32_t step = even ? layers : 1;
    for (uint32_t i = layer; i < layer + layers; i += step) {
      const PagedLayer& first = options.layers[i];
      const uint64_t offset = uint64_t{i - layer} * page_layer_stride();
      if (whole && step == (even ? group.layer_count : 1)) {
        copy(plans[even ? 0 : i], Address(first, engine_block, slice, 0),
             offset);
        continue;
      }
      if (whole_parts > 0) {
        copy(PlanFor(first, step, whole_parts, part_tokens()),
             Address(first, engine_block, slice, 0), offset);
      }
      if (rest > 0) {
        copy(PlanFor(first, step, 1, rest),
             Address(first, engine_block, slice, whole_parts),
             offset +
                 uint64_t{whole_parts} * part_tokens() * page_token_stride());
      }
    }
  }
};

absl::StatusOr<PagedMemory> PagedMemory::Create(const GroupSpec& group,
                                                PagedOptions options) {
  KVFERRY_RETURN_IF_ERROR(CheckGroup(group));
  KVFERRY_RETURN_IF_ERROR(CheckOptions(group, options));
  if (options.slice_count == 0) {
    options.slice_count = group.slice_count - options.slice_first;
  }
  auto impl = std::make_shared<Impl>();
  impl->group = group;
  impl->options = std::move(options);
  impl->even = EvenStride(impl->options.layers, &impl->layer_stride);
  const uint32_t parts = impl->options.sub_blocks;
  if (impl->even) {
    impl->plans.push_back(impl->PlanFor(impl->options.layers.front(),
                                        group.layer_count, parts,
                                        impl->part_tokens()));
  } else {
    for (const PagedLayer& layer : impl->options.layers) {
      impl->plans.push_back(
          impl->PlanFor(layer, 1, parts, impl->part_tokens()));
    }
  }
  return PagedMemory(std::move(impl));
}

const GroupSpec& PagedMemory::group() const { return impl_->group; }
uint32_t PagedMemory::slice_first() const { return impl_->options.slice_first; }
uint32_t PagedMemory::slice_end() const {
  return impl_->options.slice_first + impl_->options.slice_count;
}
uint64_t PagedMemory::block_count() const { return impl_->options.block_count; }
const PagedOptions& PagedMemory::options() const { return impl_->options; }

absl::Status PagedMemory::Gather(uint64_t engine_block, uint32_t slice,
                                 std::span<std::byte> page,
                                 uint32_t valid_tokens) const {
  const uint32_t layers = impl_->group.layer_count;
  KVFERRY_RETURN_IF_ERROR(
      impl_->Check(engine_block, slice, 0, layers, page.size(), valid_tokens));
  impl_->ForEach(
      engine_block, slice, 0, layers, valid_tokens,
      [&](const sdk::CopyPlan& plan, const std::byte* memory, uint64_t offset) {
        plan.ToPage(memory, page.data() + offset);
      });
  return absl::OkStatus();
}

absl::Status PagedMemory::Scatter(uint64_t engine_block, uint32_t slice,
                                  std::span<const std::byte> page,
                                  uint32_t valid_tokens) const {
  return ScatterLayers(engine_block, slice, 0, impl_->group.layer_count, page,
                       valid_tokens);
}

absl::Status PagedMemory::ScatterLayers(uint64_t engine_block, uint32_t slice,
                                        uint32_t layer, uint32_t layers,
                                        std::span<const std::byte> bytes,
                                        uint32_t valid_tokens) const {
  KVFERRY_RETURN_IF_ERROR(impl_->Check(engine_block, slice, layer, layers,
                                       bytes.size(), valid_tokens));
  impl_->ForEach(
      engine_block, slice, layer, layers, valid_tokens,
      [&](const sdk::CopyPlan& plan, std::byte* memory, uint64_t offset) {
        plan.FromPage(memory, bytes.data() + offset);
      });
  return absl::OkStatus();
}

}  // namespace kvferry
