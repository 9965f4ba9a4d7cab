#include "tests/unit/gpu/random_engine.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace kvferry::gpu {
namespace {

uint32_t Below(uint32_t n, std::mt19937_64* random) {
  return static_cast<uint32_t>((*random)() % n);
}

enum Dimension : uint8_t { kLayer, kKv, kPart, kToken, kHead };

}  // namespace

RandomEngine::RandomEngine(std::mt19937_64* random) {
  group_.layer_count = 1 + Below(5, random);
  group_.kv_count = 1 + Below(2, random);
  sub_blocks_ = 1u << Below(3, random);
  group_.block_tokens = sub_blocks_ * (1 + Below(6, random));
  group_.head_count = 1 + Below(4, random);
  // Odd sizes are copied byte by byte; even ones, by the widest word.
  group_.head_bytes = Below(2, random) == 0 ? 1 + Below(40, random)
                                            : 16 * (1 + Below(8, random));
  group_.slice_count = 1 + Below(4, random);
  slice_first_ = Below(group_.slice_count, random);
  slice_count_ = Below(group_.slice_count - slice_first_ + 1, random);
  block_count_ = 1 + Below(6, random);
  bytes_ = Below(2, random) == 0 ? 0 : Below(16, random);
  if (Below(3, random) == 0) {
    // Of a hybrid model: every layer as it likes.
    for (uint32_t i = 0; i < group_.layer_count; ++i) Place(1, random);
  } else {
    Place(group_.layer_count, random);
    if (Below(3, random) == 0) {
      std::shuffle(offsets_.begin(), offsets_.end(), *random);
    }
  }
}

uint32_t RandomEngine::slice_end() const {
  return slice_count_ == 0 ? group_.slice_count : slice_first_ + slice_count_;
}

void RandomEngine::Place(uint32_t layers, std::mt19937_64* random) {
  const std::array<int64_t, 5> counts = {
      layers, group_.kv_count, static_cast<int64_t>(block_count_) * sub_blocks_,
      group_.block_tokens / sub_blocks_,
      int64_t{slice_end() - slice_first_} * group_.head_count};
  std::array<Dimension, 5> order = {kLayer, kKv, kPart, kToken, kHead};
  // Half of them as engines have it, heads innermost or tokens.
  if (Below(2, random) == 0) {
    std::shuffle(order.begin(), order.end(), *random);
  } else if (Below(2, random) == 0) {
    std::swap(order[3], order[4]);
  }
  std::array<int64_t, 5> strides{};
  int64_t extent = group_.head_bytes;
  int64_t first = 0;  // of item 0 in all dimensions
  for (size_t i = order.size(); i-- > 0;) {
    const Dimension dimension = order[i];
    absl::StrAppend(&order_, i, "=", static_cast<int>(dimension), " ");
    if (Below(6, random) == 0) extent += Below(20, random);
    strides[dimension] = extent;
    const int64_t whole = extent * counts[dimension];
    if (Below(6, random) == 0) {
      absl::StrAppend(&order_, "back ");
      strides[dimension] = -extent;
      first += whole - extent;
    }
    extent = whole;
  }
  for (uint32_t i = 0; i < layers; ++i) {
    layers_.push_back({nullptr, strides[kKv], strides[kPart], strides[kToken],
                       strides[kHead]});
    offsets_.push_back(static_cast<int64_t>(bytes_) + first +
                       strides[kLayer] * int64_t{i});
  }
  bytes_ += static_cast<uint64_t>(extent);
}

std::string RandomEngine::ToString() const {
  return absl::StrCat(group_.layer_count, " layers x ", group_.kv_count, " x ",
                      group_.block_tokens, " tokens x ", group_.head_count,
                      " heads x ", group_.head_bytes, " bytes, in ",
                      sub_blocks_, " parts, slices [", slice_first_, ", ",
                      slice_end(), "), ", order_);
}

std::vector<PagedLayer> RandomEngine::LayersAt(std::byte* memory) const {
  std::vector<PagedLayer> layers = layers_;
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].base = memory + offsets_[i];
  }
  return layers;
}

PagedOptions RandomEngine::OptionsAt(std::byte* memory) const {
  PagedOptions options;
  options.layers = LayersAt(memory);
  options.block_count = block_count_;
  options.slice_first = slice_first_;
  options.slice_count = slice_count_;
  options.sub_blocks = sub_blocks_;
  return options;
}

EngineLayout RandomEngine::LayoutAt(std::byte* memory) const {
  EngineLayout layout;
  layout.group = group_;
  layout.layers = LayersAt(memory);
  layout.block_count = block_count_;
  layout.slice_first = slice_first_;
  layout.slice_count = slice_count_;
  layout.sub_blocks = sub_blocks_;
  return layout;
}

}  // namespace kvferry::gpu
