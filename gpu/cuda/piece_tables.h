#ifndef KVFERRY_GPU_CUDA_PIECE_TABLES_H_
#define KVFERRY_GPU_CUDA_PIECE_TABLES_H_

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "gpu/cuda/cuda_context.h"
#include "gpu/cuda/cuda_event.h"
#include "gpu/transfer_shape_pod.h"

namespace kvferry::gpu {

// Tables in device memory for launches of more pieces than travel with the
// launch itself. All are made at once; a table is free again when the event
// after its launch has passed. Nobody waits for one: who gets none makes
// smaller launches.
//
// Threads  any number at once
class PieceTables {
 public:
  static constexpr uint32_t kPiecesMax = 4096;

  class Table;

  // Errors  kResourceExhausted
  static absl::StatusOr<std::unique_ptr<PieceTables>> Create(
      std::shared_ptr<CudaContext> context);
  ~PieceTables();

  // With the device current, all three.
  //
  // A table for the caller alone until Return; null when all are in use.
  Table* Take();
  // Queues the table's contents; what `stream` gets next may read *device.
  // Shape  at most kPiecesMax
  absl::Status Upload(Table* table, std::span<const TransferPiece> pieces,
                      cudaStream_t stream, const TransferPiece** device);
  // After the launch, or instead of it.
  absl::Status Return(Table* table, cudaStream_t stream);

 private:
  static constexpr size_t kTables = 8;

  explicit PieceTables(std::shared_ptr<CudaContext> context);

  const std::shared_ptr<CudaContext> context_;
  // One piece of either memory, shared by the tables.
  void* host_ = nullptr;
  void* device_ = nullptr;
  Mutex mutex_;
  std::array<std::unique_ptr<Table>, kTables> tables_;
};

// One of them.
class PieceTables::Table {
 public:
  Table(TransferPiece* host, TransferPiece* device,
        std::unique_ptr<CudaEvent> done)
      : host_(host), device_(device), done_(std::move(done)) {}

 private:
  friend class PieceTables;

  TransferPiece* const host_;  // locked
  TransferPiece* const device_;
  const std::unique_ptr<CudaEvent> done_;
  bool taken_ = false;  // guarded by PieceTables::mutex_
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_PIECE_TABLES_H_
