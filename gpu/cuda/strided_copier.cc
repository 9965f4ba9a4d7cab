#include "gpu/cuda/strided_copier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"
#include "gpu/cuda/strided_copy.h"
#include "gpu/cuda/strided_copy_plan.h"

namespace kvferry::gpu {
namespace {

// Each thread block has 16 KiB in flight, so these many a processor cover the
// latency of device memory, and leave half of its threads to the model's own
// kernels: blocks stay until the launch is done.
constexpr uint32_t kBlocksAProcessor = 4;
// Over PCIe or to the host's memory: 512 KiB in flight, some times bandwidth by
// latency of any bus to it. More would only keep processors busy with waiting.
constexpr uint32_t kBlocksToHost = 32;

}  // namespace

absl::StatusOr<std::unique_ptr<StridedCopier>> StridedCopier::Create(
    std::shared_ptr<CudaContext> context) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  if (const cudaError_t error = LoadStridedCopyKernels();
      error != cudaSuccess) {
    return absl::UnavailableError(context
                                      ->Check(error,
                                              "loading this build's kernels "
                                              "(KVFERRY_CUDA_ARCHITECTURES)")
                                      .message());
  }
  int processors = 0;
  KVFERRY_RETURN_IF_ERROR(context->Check(
      cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount,
                             context->ordinal()),
      "cudaDeviceGetAttribute"));
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<PieceTables> tables,
                           PieceTables::Create(context));
  return std::unique_ptr<StridedCopier>(
      new StridedCopier(std::move(context), std::move(tables),
                        static_cast<uint32_t>(std::max(processors, 1))));
}

StridedCopier::StridedCopier(std::shared_ptr<CudaContext> context,
                             std::unique_ptr<PieceTables> tables,
                             uint32_t processors)
    : context_(std::move(context)),
      tables_(std::move(tables)),
      processors_(processors) {}

absl::Status StridedCopier::Copy(const CudaPreparedLayout& layout,
                                 LayerRange layers,
                                 std::span<const PageTransfer> pages,
                                 bool to_page, cudaStream_t stream) {
  KVFERRY_ASSIGN_OR_RETURN(const TransferPlan plan,
                           layout.planner().Plan(layers, pages));
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  for (const TransferLaunch& launch : plan.launches) {
    KVFERRY_RETURN_IF_ERROR(Launch(layout, launch, to_page, stream));
  }
  return absl::OkStatus();
}

absl::Status StridedCopier::Launch(const CudaPreparedLayout& layout,
                                   const TransferLaunch& launch, bool to_page,
                                   cudaStream_t stream) {
  const uint64_t base = layout.planner().bases()[launch.first_base];
  const uint64_t* const device_bases =
      layout.device_bases() + launch.first_base;
  std::span<const TransferPiece> rest(launch.pieces);
  while (!rest.empty()) {
    size_t taken = 0;
    KVFERRY_RETURN_IF_ERROR(LaunchSome(launch.shape, base, device_bases, rest,
                                       to_page, stream, &taken));
    rest = rest.subspan(taken);
  }
  return absl::OkStatus();
}

absl::Status StridedCopier::LaunchSome(const TransferShape& shape,
                                       uint64_t base,
                                       const uint64_t* device_bases,
                                       std::span<const TransferPiece> pieces,
                                       bool to_page, cudaStream_t stream,
                                       size_t* taken) {
  size_t count = std::min<uint64_t>(
      {pieces.size(), PieceTables::kPiecesMax, PiecesPerLaunch(shape)});
  PieceTables::Table* table = nullptr;
  if (count > kInlinePieces) {
    table = tables_->Take();
    if (table == nullptr) count = kInlinePieces;
  }
  pieces = pieces.first(count);
  *taken = count;

  StridedCopyParams params;
  params.bases = device_bases;
  params.table = nullptr;
  absl::Status status = DescribeCopy(shape, base, pieces, &params);
  if (table == nullptr) {
    std::copy(pieces.begin(), pieces.end(), params.inline_pieces);
  } else if (status.ok()) {
    status = tables_->Upload(table, pieces, stream, &params.table);
  }
  if (status.ok()) {
    status = context_->Check(
        LaunchStridedCopy(params, to_page, BlocksMax(pieces.front().page),
                          stream),
        to_page ? "gather" : "scatter");
  }
  if (table != nullptr) {
    const absl::Status returned = tables_->Return(table, stream);
    if (status.ok()) status = returned;
  }
  return status;
}

uint32_t StridedCopier::BlocksMax(const std::byte* page) const {
  const uint32_t blocks = processors_ * kBlocksAProcessor;
  return context_->IsHostMemory(page) ? std::min(blocks, kBlocksToHost)
                                      : blocks;
}

}  // namespace kvferry::gpu
