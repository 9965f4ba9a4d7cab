#ifndef KVFERRY_GPU_TRANSFER_SHAPE_POD_H_
#define KVFERRY_GPU_TRANSFER_SHAPE_POD_H_

#include <cstddef>
#include <cstdint>

// Plain C++17 without Abseil: CUDA sources include this, too.

#ifdef __CUDACC__
#define KVFERRY_HOST_DEVICE __host__ __device__
#else
#define KVFERRY_HOST_DEVICE
#endif

namespace kvferry::gpu {

// One loop over runs: how often, and how far apart its items lie on either
// side. The engine's strides may be negative.
struct TransferLoop {
  uint64_t count;
  int64_t memory_stride;
  int64_t page_stride;
};

// Layers, K and V, sub blocks, tokens, heads.
inline constexpr uint32_t kTransferLoopsMax = 5;

// How the bytes of one piece (a page, or the tail of one) lie on both sides:
// runs of run_bytes, contiguous on both, under loops, under base addresses.
//
//   for base b of base_count (layers that are not evenly spaced; else 1)
//     for each item i of loops[0], j of loops[1], ...   (outermost first)
//       memory  bases[b] + piece.memory_offset + sum of i * memory_stride
//       page    piece.page + b * page_base_stride + sum of i * page_stride
//
// Loops of one item are left out, and two that step evenly on both sides are
// one, so a shape has as few loops, and as long runs, as the layout allows: a
// page that lies in the engine as it is stored has one run and no loop.
//
// Numbers on the engine's side are computed modulo 2^64, so that negative
// strides need no care.
struct TransferShape {
  uint64_t run_bytes;
  uint64_t
      runs;  // under one base: the product of the loops' counts; at least 1
  uint32_t base_count;
  uint32_t loop_count;
  TransferLoop loops[kTransferLoopsMax];  // the first loop_count count
  int64_t page_base_stride;
  // What divides every address on the engine's side, all offsets from
  // piece.page, and run_bytes: 1, 2, 4, 8 or 16. The alignment of a piece's
  // page itself is not in it.
  uint32_t alignment;
};

// What a launch copies with one shape.
struct TransferPiece {
  uint64_t memory_offset;  // from each base, modulo 2^64
  std::byte* page;         // the piece's first byte on the page's side
};

// Where a run begins: offsets from a base and a piece's memory_offset, and from
// the piece's page.
struct TransferOffsets {
  uint64_t memory;
  uint64_t page;
};

// Of run `run` (below shape.runs) under base 0: the innermost loop runs
// fastest, so neighbouring runs are neighbours in the page. Add
// base * page_base_stride for another base.
KVFERRY_HOST_DEVICE inline TransferOffsets RunOffsets(
    const TransferShape& shape, uint64_t run) {
  TransferOffsets offsets = {0, 0};
  for (uint32_t i = shape.loop_count; i-- > 0;) {
    const TransferLoop& loop = shape.loops[i];
    const uint64_t item = run % loop.count;
    run /= loop.count;
    offsets.memory += item * static_cast<uint64_t>(loop.memory_stride);
    offsets.page += item * static_cast<uint64_t>(loop.page_stride);
  }
  return offsets;
}

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_TRANSFER_SHAPE_POD_H_
