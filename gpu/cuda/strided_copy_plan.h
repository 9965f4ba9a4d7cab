#ifndef KVFERRY_GPU_CUDA_STRIDED_COPY_PLAN_H_
#define KVFERRY_GPU_CUDA_STRIDED_COPY_PLAN_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "gpu/cuda/strided_copy_params.h"
#include "gpu/transfer_shape_pod.h"

namespace kvferry::gpu {

// Fills in `params` for a launch of `pieces`, but for the pieces themselves and
// `bases`. `base` is the shape's first one.
//
// The vectors are as wide as the shape and the pages' addresses allow.
// Errors  kInvalidArgument  a piece of 2^31 vectors or more: no page of ours,
//                           whose blocks are 256 MiB at most
absl::Status DescribeCopy(const TransferShape& shape, uint64_t base,
                          std::span<const TransferPiece> pieces,
                          StridedCopyParams* params);

// How many pieces of `shape` a launch takes at most, whatever their alignment;
// at least 1.
uint64_t PiecesPerLaunch(const TransferShape& shape);

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_STRIDED_COPY_PLAN_H_
