#include "gpu/transfer_shape.h"

#include <algorithm>
#include <bit>

namespace kvferry::gpu {
namespace {

// The widest load and store that a GPU thread has.
constexpr uint64_t kAlignmentMax = 16;

// Whether `outer` goes on where `inner` ends, on both sides.
bool Continues(const TransferLoop& outer, const TransferLoop& inner) {
  const auto end = [&](int64_t stride) {
    return static_cast<int64_t>(static_cast<uint64_t>(stride) * inner.count);
  };
  return outer.memory_stride == end(inner.memory_stride) &&
         outer.page_stride == end(inner.page_stride);
}

}  // namespace

uint32_t AlignmentOf(uint64_t bits) {
  // Of 0, which everything divides, the highest as well.
  const uint64_t lowest = uint64_t{1} << std::min(std::countr_zero(bits), 63);
  return static_cast<uint32_t>(std::min(lowest, kAlignmentMax));
}

// From the inside: items become a run while they lie one behind the other on
// both sides; then a loop becomes part of the one within while the two are one
// even step. `loops` fill from the back and are turned round at the end.
TransferShape CollapseLoops(const TransferLoops& loops, uint64_t item_bytes) {
  TransferShape shape{};
  shape.base_count = 1;
  shape.run_bytes = item_bytes;
  shape.runs = 1;
  for (size_t i = loops.size(); i-- > 0;) {
    const TransferLoop& loop = loops[i];
    if (loop.count == 1) continue;
    const auto run = static_cast<int64_t>(shape.run_bytes);
    if (shape.loop_count == 0 && loop.memory_stride == run &&
        loop.page_stride == run) {
      shape.run_bytes *= loop.count;
      continue;
    }
    shape.runs *= loop.count;
    if (shape.loop_count > 0 &&
        Continues(loop, shape.loops[shape.loop_count - 1])) {
      shape.loops[shape.loop_count - 1].count *= loop.count;
      continue;
    }
    shape.loops[shape.loop_count++] = loop;
  }
  std::reverse(shape.loops, shape.loops + shape.loop_count);
  uint64_t bits = shape.run_bytes;
  for (uint32_t i = 0; i < shape.loop_count; ++i) {
    bits |= static_cast<uint64_t>(shape.loops[i].memory_stride) |
            static_cast<uint64_t>(shape.loops[i].page_stride);
  }
  shape.alignment = AlignmentOf(bits);
  return shape;
}

}  // namespace kvferry::gpu
