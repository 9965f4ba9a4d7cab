#ifndef KVFERRY_GPU_CUDA_STRIDED_COPY_PARAMS_H_
#define KVFERRY_GPU_CUDA_STRIDED_COPY_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "gpu/cuda/fast_divisor.h"
#include "gpu/transfer_shape_pod.h"

// What the copy kernel is given and how its threads share the work. C++17
// without CUDA in it: the kernel (strided_copy.cu) and a test that runs every
// thread of a launch on the processor compile the same lines.
namespace kvferry::gpu {

// Threads of a thread block, and vectors that each of them loads before it
// stores the first: 16 KiB in flight a block at full width.
inline constexpr uint32_t kCopyThreads = 256;
inline constexpr uint32_t kCopyUnroll = 4;
inline constexpr uint32_t kCopyChunkVectors = kCopyThreads * kCopyUnroll;

// Pieces that travel with the launch; more come from a table in device memory.
inline constexpr uint32_t kInlinePieces = 224;

// A loop of a TransferShape, innermost first here.
struct CopyLoop {
  FastDivisor count;
  int64_t memory_stride;
  int64_t page_stride;
};

// A launch: TransferShape cut into vectors of `width` bytes. The vectors of a
// piece are numbered in the order of its page; kCopyChunkVectors of them are a
// chunk, the work of one thread block at a time.
struct StridedCopyParams {
  // Addresses of the shape's bases, in device memory; not read when there is
  // only one, which is `base`.
  const uint64_t* bases;
  uint64_t base;
  uint32_t base_count;
  uint32_t loop_count;
  int64_t page_base_stride;
  CopyLoop loops[kTransferLoopsMax];
  FastDivisor run_vectors;  // of a run
  FastDivisor chunks_a_piece;
  uint32_t piece_vectors;  // of a piece, under all bases
  uint32_t chunks;         // of all pieces; below kFastDivideMax
  uint32_t width;          // 1, 2, 4, 8 or 16
  uint32_t piece_count;
  const TransferPiece* table;  // null: inline_pieces
  TransferPiece inline_pieces[kInlinePieces];
};
// What every CUDA device takes as a kernel's parameters.
static_assert(sizeof(StridedCopyParams) <= 4096);

// Where one vector lies on both sides.
struct VectorPlace {
  std::byte* memory;
  std::byte* page;
};

// Shape  vector < params.piece_vectors
KVFERRY_HOST_DEVICE inline VectorPlace PlaceOf(const StridedCopyParams& params,
                                               const TransferPiece& piece,
                                               uint32_t vector) {
  uint32_t run = params.run_vectors.Divide(vector);
  const uint32_t inside = vector - run * params.run_vectors.divisor;
  uint64_t memory = piece.memory_offset + uint64_t{inside} * params.width;
  uint64_t page = uint64_t{inside} * params.width;
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (uint32_t i = 0; i < kTransferLoopsMax; ++i) {
    if (i >= params.loop_count) break;
    const CopyLoop& loop = params.loops[i];
    const uint32_t next = loop.count.Divide(run);
    const uint64_t item = run - next * loop.count.divisor;
    run = next;
    memory += item * static_cast<uint64_t>(loop.memory_stride);
    page += item * static_cast<uint64_t>(loop.page_stride);
  }
  // What is left of the number is the base's.
  memory += params.base_count == 1 ? params.base : params.bases[run];
  page += uint64_t{run} * static_cast<uint64_t>(params.page_base_stride);
  return VectorPlace{reinterpret_cast<std::byte*>(memory), piece.page + page};
}

// The part of one thread in one chunk: `Access` has Load(address) and
// Store(address, vector) for vectors of `Vector`, params.width bytes.
//
// Everything is loaded before anything is stored, so that the loads of a thread
// wait for memory together.
template <typename Vector, bool kToPage, typename Access>
KVFERRY_HOST_DEVICE inline void CopyChunk(const StridedCopyParams& params,
                                          uint32_t chunk, uint32_t thread) {
  const uint32_t index = params.chunks_a_piece.Divide(chunk);
  const uint32_t first =
      (chunk - index * params.chunks_a_piece.divisor) * kCopyChunkVectors +
      thread;
  const TransferPiece piece = params.table == nullptr
                                  ? params.inline_pieces[index]
                                  : params.table[index];
  Vector vectors[kCopyUnroll];
  std::byte* targets[kCopyUnroll];
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (uint32_t i = 0; i < kCopyUnroll; ++i) {
    const uint32_t vector = first + i * kCopyThreads;
    if (vector >= params.piece_vectors) continue;
    const VectorPlace place = PlaceOf(params, piece, vector);
    targets[i] = kToPage ? place.page : place.memory;
    vectors[i] = Access::template Load<Vector, kToPage>(kToPage ? place.memory
                                                                : place.page);
  }
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (uint32_t i = 0; i < kCopyUnroll; ++i) {
    if (first + i * kCopyThreads >= params.piece_vectors) continue;
    Access::template Store<Vector, kToPage>(targets[i], vectors[i]);
  }
}

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_STRIDED_COPY_PARAMS_H_
