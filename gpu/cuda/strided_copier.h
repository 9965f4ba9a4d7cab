#ifndef KVFERRY_GPU_CUDA_STRIDED_COPIER_H_
#define KVFERRY_GPU_CUDA_STRIDED_COPIER_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/cuda/cuda_prepared_layout.h"
#include "gpu/cuda/piece_tables.h"
#include "gpu/transfer_plan.h"

namespace kvferry::gpu {

// Queues the launches that a gather or a scatter comes to.
//
// Cost     a launch a shape (TransferPlanner), and of more than kInlinePieces a
//          copy of their table. No allocation on the device, no waiting
// Threads  any number at once
class StridedCopier {
 public:
  // Loads the kernels.
  // Errors  kUnavailable  this build has none for the device
  static absl::StatusOr<std::unique_ptr<StridedCopier>> Create(
      std::shared_ptr<CudaContext> context);

  // Errors  as Device::Gather
  absl::Status Copy(const CudaPreparedLayout& layout, LayerRange layers,
                    std::span<const PageTransfer> pages, bool to_page,
                    cudaStream_t stream);

 private:
  StridedCopier(std::shared_ptr<CudaContext> context,
                std::unique_ptr<PieceTables> tables, uint32_t processors);

  absl::Status Launch(const CudaPreparedLayout& layout,
                      const TransferLaunch& launch, bool to_page,
                      cudaStream_t stream);
  // One kernel; *taken is how many of the pieces it copies.
  absl::Status LaunchSome(const TransferShape& shape, uint64_t base,
                          const uint64_t* device_bases,
                          std::span<const TransferPiece> pieces, bool to_page,
                          cudaStream_t stream, size_t* taken);
  uint32_t BlocksMax(const std::byte* page) const;

  const std::shared_ptr<CudaContext> context_;
  const std::unique_ptr<PieceTables> tables_;
  const uint32_t processors_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_STRIDED_COPIER_H_
