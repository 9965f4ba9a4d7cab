#include "gpu/cuda/piece_tables.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "gpu/cuda/cuda_scope.h"

namespace kvferry::gpu {

absl::StatusOr<std::unique_ptr<PieceTables>> PieceTables::Create(
    std::shared_ptr<CudaContext> context) {
  const CudaScope scope(context.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  constexpr size_t kTableBytes = kPiecesMax * sizeof(TransferPiece);
  std::unique_ptr<PieceTables> tables(new PieceTables(context));
  KVFERRY_RETURN_IF_ERROR(
      context->Check(cudaHostAlloc(&tables->host_, kTables * kTableBytes,
                                   cudaHostAllocDefault),
                     "cudaHostAlloc"));
  KVFERRY_RETURN_IF_ERROR(context->Check(
      cudaMalloc(&tables->device_, kTables * kTableBytes), "cudaMalloc"));
  for (size_t i = 0; i < kTables; ++i) {
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<CudaEvent> done,
                             CudaEvent::Create(context));
    tables->tables_[i] = std::make_unique<Table>(
        static_cast<TransferPiece*>(tables->host_) + i * kPiecesMax,
        static_cast<TransferPiece*>(tables->device_) + i * kPiecesMax,
        std::move(done));
  }
  return tables;
}

PieceTables::PieceTables(std::shared_ptr<CudaContext> context)
    : context_(std::move(context)) {}

PieceTables::~PieceTables() {
  const CudaScope scope(context_.get());
  if (!scope.status().ok()) return;
  // A launch may still read its table.
  for (const std::unique_ptr<Table>& table : tables_) {
    if (table == nullptr) continue;
    (void)context_->Check(cudaEventSynchronize(table->done_->native()),
                          "cudaEventSynchronize");
  }
  (void)context_->Check(cudaFree(device_), "cudaFree");
  (void)context_->Check(cudaFreeHost(host_), "cudaFreeHost");
}

PieceTables::Table* PieceTables::Take() {
  MutexLock lock(&mutex_);
  for (const std::unique_ptr<Table>& table : tables_) {
    if (table->taken_) continue;
    // An event that was never recorded has passed.
    if (cudaEventQuery(table->done_->native()) != cudaSuccess) {
      // Not yet, or broken: the launch will say so.
      (void)cudaGetLastError();
      continue;
    }
    table->taken_ = true;
    return table.get();
  }
  return nullptr;
}

absl::Status PieceTables::Upload(Table* table,
                                 std::span<const TransferPiece> pieces,
                                 cudaStream_t stream,
                                 const TransferPiece** device) {
  KVFERRY_CHECK(pieces.size() <= kPiecesMax);
  std::memcpy(table->host_, pieces.data(), pieces.size_bytes());
  *device = table->device_;
  return context_->Check(
      cudaMemcpyAsync(table->device_, table->host_, pieces.size_bytes(),
                      cudaMemcpyHostToDevice, stream),
      "cudaMemcpyAsync");
}

absl::Status PieceTables::Return(Table* table, cudaStream_t stream) {
  const absl::Status recorded = context_->Check(
      cudaEventRecord(table->done_->native(), stream), "cudaEventRecord");
  // Without its event nobody knows when it is free: it is never used again.
  if (!recorded.ok()) return recorded;
  MutexLock lock(&mutex_);
  table->taken_ = false;
  return absl::OkStatus();
}

}  // namespace kvferry::gpu
