#include "gpu/transfer_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/transfer_shape.h"

namespace kvferry::gpu {
namespace {

uint64_t Unsigned(int64_t stride) { return static_cast<uint64_t>(stride); }

bool SameStrides(const PagedLayer& a, const PagedLayer& b) {
  return a.kv_stride == b.kv_stride && a.block_stride == b.block_stride &&
         a.token_stride == b.token_stride && a.head_stride == b.head_stride;
}

// Layers of one launch: [first, first + count), of equal strides.
struct LayerRun {
  uint32_t first = 0;
  uint32_t count = 0;
};

// Whole sub blocks, or the tokens of one that is not full.
struct Part {
  uint32_t first = 0;  // sub block
  uint32_t count = 0;
  uint32_t tokens = 0;  // of each

  friend bool operator==(const Part&, const Part&) = default;
};

// Computes shapes and offsets of one layout.
class Geometry {
 public:
  Geometry(const EngineLayout& layout, std::span<const uint64_t> bases)
      : layout_(layout), group_(layout.group), bases_(bases) {}

  uint32_t part_tokens() const {
    return group_.block_tokens / layout_.sub_blocks;
  }
  uint64_t page_layer_bytes() const {
    return group_.token_bytes() * group_.block_tokens * group_.kv_count;
  }

  TransferShape Shape(const LayerRun& layers, const Part& part) const {
    const PagedLayer& layer = layout_.layers[layers.first];
    const auto token = static_cast<int64_t>(group_.token_bytes());
    const auto page_layer = static_cast<int64_t>(page_layer_bytes());
    const bool even = EvenlySpaced(layers);
    const uint64_t looped = even ? layers.count : 1;
    const int64_t layer_stride =
        even && layers.count > 1
            ? static_cast<int64_t>(bases_[layers.first + 1] -
                                   bases_[layers.first])
            : 0;
    TransferShape shape = CollapseLoops(
        {{{looped, layer_stride, page_layer},
          {group_.kv_count, layer.kv_stride, token * group_.block_tokens},
          {part.count, layer.block_stride, token * part_tokens()},
          {part.tokens, layer.token_stride, token},
          {group_.head_count, layer.head_stride, group_.head_bytes}}},
        group_.head_bytes);
    shape.base_count = even ? 1 : layers.count;
    shape.page_base_stride = page_layer;
    uint64_t bits = Unsigned(layer.block_stride) |
                    Unsigned(layer.head_stride) * group_.head_count;
    if (!even) bits |= Unsigned(page_layer);
    for (uint32_t i = 0; i < layers.count; ++i) {
      bits |= bases_[layers.first + i];
    }
    shape.alignment = std::min(shape.alignment, AlignmentOf(bits));
    return shape;
  }

  TransferPiece Piece(const LayerRun& layers, const Part& part,
                      const PageTransfer& page) const {
    const PagedLayer& layer = layout_.layers[layers.first];
    const uint64_t block = page.engine_block * layout_.sub_blocks + part.first;
    const uint64_t head =
        uint64_t{page.slice - layout_.slice_first} * group_.head_count;
    return TransferPiece{
        Unsigned(layer.block_stride) * block +
            Unsigned(layer.head_stride) * head,
        page.page + layers.first * page_layer_bytes() +
            uint64_t{part.first} * part_tokens() * group_.token_bytes()};
  }

 private:
  bool EvenlySpaced(const LayerRun& layers) const {
    for (uint32_t i = 2; i < layers.count; ++i) {
      const uint64_t* base = &bases_[layers.first + i];
      if (base[0] - base[-1] != base[-1] - base[-2]) return false;
    }
    return true;
  }

  const EngineLayout& layout_;
  const GroupSpec& group_;
  const std::span<const uint64_t> bases_;
};

absl::Status CheckPage(const EngineLayout& layout, const PageTransfer& page) {
  const GroupSpec& group = layout.group;
  if (page.engine_block >= layout.block_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: engine block ", page.engine_block,
                     ", the memory has ", layout.block_count));
  }
  if (page.slice - layout.slice_first >= layout.slice_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: slice ", page.slice, ", the memory has slices [",
                     layout.slice_first, ", +", layout.slice_count, ")"));
  }
  if (page.page == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu: the page of engine block ", page.engine_block, " is null"));
  }
  if (page.valid_tokens > group.block_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu: ", page.valid_tokens, " valid tokens, a block of group \"",
        group.name, "\" has ", group.block_tokens));
  }
  return absl::OkStatus();
}

// Collects pieces by their shape, which the layers and the part decide.
class LaunchList {
 public:
  LaunchList(const Geometry* geometry, LayerRun layers,
             std::vector<TransferLaunch>* launches)
      : geometry_(geometry), layers_(layers), launches_(launches) {}

  void Add(const Part& part, const PageTransfer& page) {
    LaunchOf(part).pieces.push_back(geometry_->Piece(layers_, part, page));
  }

 private:
  TransferLaunch& LaunchOf(const Part& part) {
    // Few: full blocks, and the tails of as many prompts as one call has.
    for (const auto& [known, index] : parts_) {
      if (known == part) return (*launches_)[index];
    }
    parts_.emplace_back(part, launches_->size());
    TransferLaunch& launch = launches_->emplace_back();
    launch.shape = geometry_->Shape(layers_, part);
    launch.first_base = layers_.first;
    return launch;
  }

  const Geometry* const geometry_;
  const LayerRun layers_;
  std::vector<TransferLaunch>* const launches_;
  std::vector<std::pair<Part, size_t>> parts_;
};

}  // namespace

TransferPlanner::TransferPlanner(const EngineLayout& layout) : layout_(layout) {
  if (layout_.slice_count == 0) {
    layout_.slice_count = layout_.group.slice_count - layout_.slice_first;
  }
  for (uint32_t i = 0; i < layout_.layers.size(); ++i) {
    const PagedLayer& layer = layout_.layers[i];
    bases_.push_back(reinterpret_cast<uintptr_t>(layer.base));
    if (i == 0 || !SameStrides(layer, layout_.layers[i - 1])) {
      bands_.push_back({i, 0});
    }
    ++bands_.back().count;
  }
}

absl::StatusOr<TransferPlanner> TransferPlanner::Create(
    const EngineLayout& layout) {
  KVFERRY_RETURN_IF_ERROR(layout.Check());
  return TransferPlanner(layout);
}

uint64_t TransferPlanner::RunBytes() const {
  const Geometry geometry(layout_, bases_);
  const Part whole{0, layout_.sub_blocks, geometry.part_tokens()};
  uint64_t bytes = UINT64_MAX;
  for (const Band& band : bands_) {
    bytes = std::min(bytes,
                     geometry.Shape({band.first, band.count}, whole).run_bytes);
  }
  return bytes;
}

absl::StatusOr<TransferPlan> TransferPlanner::Plan(
    LayerRange layers, std::span<const PageTransfer> pages) const {
  const GroupSpec& group = layout_.group;
  if (layers.first >= group.layer_count ||
      layers.count > group.layer_count - layers.first) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: layers [", layers.first, ", +", layers.count,
                     "), group \"", group.name, "\" has ", group.layer_count));
  }
  if (layers.count == 0) layers.count = group.layer_count - layers.first;
  for (const PageTransfer& page : pages) {
    KVFERRY_RETURN_IF_ERROR(CheckPage(layout_, page));
  }
  const Geometry geometry(layout_, bases_);
  const uint32_t part_tokens = geometry.part_tokens();
  TransferPlan plan;
  for (const Band& band : bands_) {
    const uint32_t first = std::max(band.first, layers.first);
    const uint32_t end =
        std::min(band.first + band.count, layers.first + layers.count);
    if (first >= end) continue;
    LaunchList launches(&geometry, {first, end - first}, &plan.launches);
    for (const PageTransfer& page : pages) {
      const uint32_t tokens =
          page.valid_tokens == 0 ? group.block_tokens : page.valid_tokens;
      const uint32_t whole = tokens / part_tokens;
      const uint32_t rest = tokens % part_tokens;
      if (whole > 0) launches.Add({0, whole, part_tokens}, page);
      if (rest > 0) launches.Add({whole, 1, rest}, page);
    }
  }
  for (const PageTransfer& page : pages) {
    const uint32_t tokens =
        page.valid_tokens == 0 ? group.block_tokens : page.valid_tokens;
    plan.bytes +=
        uint64_t{layers.count} * group.kv_count * tokens * group.token_bytes();
  }
  return plan;
}

}  // namespace kvferry::gpu
