#ifndef KVFERRY_GPU_TRANSFER_PLAN_H_
#define KVFERRY_GPU_TRANSFER_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/engine_layout.h"
#include "gpu/transfer_shape_pod.h"

namespace kvferry::gpu {

// Pieces of one shape: what one kernel launch copies.
struct TransferLaunch {
  TransferShape shape{};
  // Into TransferPlanner::bases(): base b of the shape is bases[first_base +
  // b].
  uint32_t first_base = 0;
  std::vector<TransferPiece> pieces;
};

// What a call of Gather or Scatter comes to. All full blocks of layers that are
// alike are one launch; each length of tail adds at most two.
struct TransferPlan {
  std::vector<TransferLaunch> launches;
  uint64_t bytes = 0;
};

// Turns lists of blocks into launches, for one engine layout.
//
// Threads  any number at once
class TransferPlanner {
 public:
  // Errors  as EngineLayout::Check
  static absl::StatusOr<TransferPlanner> Create(const EngineLayout& layout);

  // Addresses of the layers, in their order.
  std::span<const uint64_t> bases() const { return bases_; }

  // Of full blocks; where layers differ, the shortest.
  uint64_t RunBytes() const;

  // Errors  kInvalidArgument  a block, slice, page or layers that are not there
  absl::StatusOr<TransferPlan> Plan(LayerRange layers,
                                    std::span<const PageTransfer> pages) const;

 private:
  // Consecutive layers with the same strides.
  struct Band {
    uint32_t first = 0;
    uint32_t count = 0;
  };

  explicit TransferPlanner(const EngineLayout& layout);

  EngineLayout layout_;
  std::vector<Band> bands_;
  std::vector<uint64_t> bases_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_TRANSFER_PLAN_H_
