#include "tools/kvferry-bench/gpu_tensors.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/random.h"

namespace kvferry::bench {
namespace {

constexpr uint32_t kBlockTokens = 16;

// 0 to count - 1 in an order that is the same in every run.
std::vector<uint32_t> Shuffled(uint32_t count, uint64_t seed) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  for (uint32_t i = count; i > 1; --i) {
    std::swap(order[i - 1], order[Mix64(seed + i) % i]);
  }
  return order;
}

}  // namespace

GroupSpec GpuShape::Group() const {
  GroupSpec group;
  group.block_tokens = kBlockTokens;
  group.layer_count = layers;
  group.kv_count = 2;
  group.head_count = 1;
  group.head_bytes = static_cast<uint32_t>(fragment_bytes / kBlockTokens);
  return group;
}

RandomTile::RandomTile() : tile_(kTileBytes) { FillRandom(tile_, 77); }

absl::Status RandomTile::Fill(const GpuTarget& target, std::byte* memory,
                              uint64_t bytes) const {
  const uint64_t first = std::min(bytes, kTileBytes);
  const gpu::Copy once{memory, tile_.data(), first};
  KVFERRY_RETURN_IF_ERROR(target.Run([&] {
    return target.device().CopyAsync({&once, 1}, target.stream());
  }));
  // What is there is copied behind itself: a whole number of tiles each time.
  for (uint64_t done = first; done < bytes;) {
    const uint64_t more = std::min(bytes - done, done);
    const gpu::Copy copy{memory + done, memory, more};
    KVFERRY_RETURN_IF_ERROR(target.Run([&] {
      return target.device().CopyAsync({&copy, 1}, target.stream());
    }));
    done += more;
  }
  return absl::OkStatus();
}

bool RandomTile::Holds(std::span<const std::byte> bytes,
                       uint64_t offset) const {
  for (uint64_t done = 0; done < bytes.size();) {
    const uint64_t at = (offset + done) % kTileBytes;
    const uint64_t more = std::min(bytes.size() - done, kTileBytes - at);
    if (std::memcmp(bytes.data() + done, tile_.data() + at, more) != 0) {
      return false;
    }
    done += more;
  }
  return true;
}

absl::StatusOr<GpuTensors> GpuTensors::Make(const GpuTarget& target,
                                            const GpuShape& shape,
                                            std::byte* engine,
                                            std::byte* pages) {
  GpuTensors tensors;
  tensors.shape_ = shape;
  tensors.engine_ = engine;
  tensors.pages_ = pages;
  gpu::EngineLayout layout;
  layout.group = shape.Group();
  layout.block_count = shape.blocks;
  const auto fragment = static_cast<int64_t>(shape.fragment_bytes);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    PagedLayer one;
    one.base =
        engine + uint64_t{layer} * 2 * shape.fragment_bytes * shape.blocks;
    one.kv_stride = fragment * shape.blocks;
    one.block_stride = fragment;
    one.token_stride = fragment / kBlockTokens;
    one.head_stride = fragment / kBlockTokens;
    layout.layers.push_back(one);
  }
  KVFERRY_ASSIGN_OR_RETURN(tensors.layout_,
                           target.device().Prepare(std::move(layout)));
  const std::vector<uint32_t> blocks = Shuffled(shape.blocks, 1);
  const std::vector<uint32_t> places = Shuffled(shape.blocks, 1'000'003);
  for (uint32_t i = 0; i < shape.blocks; ++i) {
    tensors.transfers_.push_back(
        {blocks[i], pages + places[i] * shape.page_bytes(), 0, 0});
  }
  return tensors;
}

absl::Status GpuTensors::Gather(const GpuTarget& target) const {
  return target.device().Gather(*layout_, {}, transfers_, target.stream());
}

absl::Status GpuTensors::Scatter(const GpuTarget& target) const {
  return target.device().Scatter(*layout_, {}, transfers_, target.stream());
}

uint64_t GpuTensors::EngineOffset(uint32_t i, uint32_t layer,
                                  uint32_t kv) const {
  return ((uint64_t{layer} * 2 + kv) * shape_.blocks +
          transfers_[i].engine_block) *
         shape_.fragment_bytes;
}

uint64_t GpuTensors::PageOffset(uint32_t i, uint32_t layer, uint32_t kv) const {
  return static_cast<uint64_t>(transfers_[i].page - pages_) +
         (uint64_t{layer} * 2 + kv) * shape_.fragment_bytes;
}

absl::Status GpuTensors::CopyRuns(const GpuTarget& target,
                                  bool to_pages) const {
  std::vector<gpu::Copy> copies;
  copies.reserve(size_t{shape_.blocks} * shape_.layers * 2);
  for (uint32_t i = 0; i < shape_.blocks; ++i) {
    for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
      for (const uint32_t kv : {0u, 1u}) {
        std::byte* const engine = engine_ + EngineOffset(i, layer, kv);
        std::byte* const page = pages_ + PageOffset(i, layer, kv);
        copies.push_back({to_pages ? page : engine, to_pages ? engine : page,
                          shape_.fragment_bytes});
      }
    }
  }
  return target.device().CopyAsync(copies, target.stream());
}

absl::Status CheckTransfer(const GpuTarget& target, const GpuTensors& tensors,
                           const std::byte* written, bool pages_were_written,
                           const RandomTile& tile) {
  const GpuShape& shape = tensors.shape();
  std::vector<std::byte> seen(shape.fragment_bytes);
  for (const uint32_t i : {0u, shape.blocks / 2, shape.blocks - 1}) {
    for (const uint32_t layer : {0u, shape.layers - 1}) {
      for (const uint32_t kv : {0u, 1u}) {
        const uint64_t engine = tensors.EngineOffset(i, layer, kv);
        const uint64_t page = tensors.PageOffset(i, layer, kv);
        const gpu::Copy copy{seen.data(),
                             written + (pages_were_written ? page : engine),
                             shape.fragment_bytes};
        KVFERRY_RETURN_IF_ERROR(target.Run([&] {
          return target.device().CopyAsync({&copy, 1}, target.stream());
        }));
        if (!tile.Holds(seen, pages_were_written ? engine : page)) {
          return absl::DataLossError(absl::StrCat(
              "transfer ", i, ", layer ", layer, ", ", kv == 0 ? "K" : "V",
              ": other bytes than in the source"));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
