#ifndef KVFERRY_GPU_TRANSFER_SHAPE_H_
#define KVFERRY_GPU_TRANSFER_SHAPE_H_

#include <array>
#include <cstdint>

#include "gpu/transfer_shape_pod.h"

namespace kvferry::gpu {

// All loops over the items of a piece under one base, outermost first: layers,
// K and V, sub blocks, tokens, heads. Loops of one item may have any strides.
using TransferLoops = std::array<TransferLoop, kTransferLoopsMax>;

// The shape with the longest runs and the fewest loops that copies the same
// bytes. It has one base; its alignment is that of its run and strides.
TransferShape CollapseLoops(const TransferLoops& loops, uint64_t item_bytes);

// What divides each of a set of addresses and strides that were or'ed together:
// 1, 2, 4, 8 or 16.
uint32_t AlignmentOf(uint64_t bits);

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_TRANSFER_SHAPE_H_
