#include "gpu/cuda/strided_copy_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gpu/transfer_shape.h"

namespace kvferry::gpu {
namespace {

uint64_t PieceBytes(const TransferShape& shape) {
  return shape.run_bytes * shape.runs * shape.base_count;
}

uint64_t ChunksOf(uint64_t vectors) {
  return vectors / kCopyChunkVectors + (vectors % kCopyChunkVectors != 0);
}

}  // namespace

uint64_t PiecesPerLaunch(const TransferShape& shape) {
  // Bytes: the narrowest vectors.
  const uint64_t chunks = ChunksOf(PieceBytes(shape));
  return std::max<uint64_t>(
      (kFastDivideMax - 1) / std::max<uint64_t>(chunks, 1), 1);
}

absl::Status DescribeCopy(const TransferShape& shape, uint64_t base,
                          std::span<const TransferPiece> pieces,
                          StridedCopyParams* params) {
  uint64_t bits = shape.alignment;
  for (const TransferPiece& piece : pieces) {
    bits |= reinterpret_cast<uintptr_t>(piece.page);
  }
  params->width = AlignmentOf(bits);
  const uint64_t vectors = PieceBytes(shape) / params->width;
  const uint64_t chunks = ChunksOf(vectors);
  if (vectors == 0 || vectors >= kFastDivideMax ||
      chunks * pieces.size() >= kFastDivideMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: ", pieces.size(), " pieces of ", PieceBytes(shape),
                     " bytes in vectors of ", params->width,
                     "; a launch takes less than 2^31 vectors a piece"));
  }
  params->base = base;
  params->base_count = shape.base_count;
  params->page_base_stride = shape.page_base_stride;
  params->loop_count = shape.loop_count;
  for (uint32_t i = 0; i < shape.loop_count; ++i) {
    const TransferLoop& loop = shape.loops[shape.loop_count - 1 - i];
    params->loops[i] =
        CopyLoop{MakeFastDivisor(static_cast<uint32_t>(loop.count)),
                 loop.memory_stride, loop.page_stride};
  }
  params->run_vectors =
      MakeFastDivisor(static_cast<uint32_t>(shape.run_bytes / params->width));
  params->chunks_a_piece = MakeFastDivisor(static_cast<uint32_t>(chunks));
  params->piece_vectors = static_cast<uint32_t>(vectors);
  params->piece_count = static_cast<uint32_t>(pieces.size());
  params->chunks = static_cast<uint32_t>(chunks * pieces.size());
  return absl::OkStatus();
}

}  // namespace kvferry::gpu
