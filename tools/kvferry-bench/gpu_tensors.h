#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_GPU_TENSORS_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_GPU_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/device.h"
#include "gpu/engine_layout.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/gpu_target.h"

namespace kvferry::bench {

// How an engine's KV is cut: K and V split, 16 tokens a block, as vLLM has it
// for a dense model. A fragment is K or V of one block in one layer, contiguous
// in the engine.
struct GpuShape {
  uint32_t layers = 0;
  uint64_t fragment_bytes = 0;
  uint32_t blocks = 0;

  GroupSpec Group() const;
  uint64_t page_bytes() const { return uint64_t{layers} * 2 * fragment_bytes; }
  uint64_t bytes() const { return page_bytes() * blocks; }
};

// Memory that has the same random bytes everywhere: byte i of it is byte
// i % kTileBytes of one random tile. No power of two, so that no two blocks of
// a shape are alike, and what landed in a wrong place is seen.
class RandomTile {
 public:
  static constexpr uint64_t kTileBytes = (uint64_t{8} << 20) + 4096 * 7 + 48;

  RandomTile();
  // Fills device memory, waited for.
  absl::Status Fill(const GpuTarget& target, std::byte* memory,
                    uint64_t bytes) const;
  // Whether `bytes`, copied from offset `offset` of filled memory, are right.
  bool Holds(std::span<const std::byte> bytes, uint64_t offset) const;
  std::span<const std::byte> bytes() const { return tile_; }

 private:
  std::vector<std::byte> tile_;
};

// An engine's tensors of one shape in device memory, and what moves blocks
// between them and pages: all of the blocks, in an order of their own on both
// sides, as a cache that has been in use has them.
class GpuTensors {
 public:
  // `engine` has shape.bytes() bytes; so has `pages`, as the device sees it.
  static absl::StatusOr<GpuTensors> Make(const GpuTarget& target,
                                         const GpuShape& shape,
                                         std::byte* engine, std::byte* pages);

  absl::Status Gather(const GpuTarget& target) const;
  absl::Status Scatter(const GpuTarget& target) const;
  // The same, each fragment a copy of its own (Device::CopyAsync).
  absl::Status CopyRuns(const GpuTarget& target, bool to_pages) const;

  // Where fragment (layer, K or V) of transfer `i` lies in engine memory and in
  // pages, from their starts.
  uint64_t EngineOffset(uint32_t i, uint32_t layer, uint32_t kv) const;
  uint64_t PageOffset(uint32_t i, uint32_t layer, uint32_t kv) const;
  const GpuShape& shape() const { return shape_; }

 private:
  GpuShape shape_;
  std::byte* engine_ = nullptr;
  std::byte* pages_ = nullptr;
  std::unique_ptr<gpu::PreparedLayout> layout_;
  std::vector<gpu::PageTransfer> transfers_;
};

// Compares fragments of the first, the middle and the last transfer on both
// sides, after a gather (or a scatter) of tensors that were filled from `tile`.
// Errors  kDataLoss  another byte; which
absl::Status CheckTransfer(const GpuTarget& target, const GpuTensors& tensors,
                           const std::byte* written, bool pages_were_written,
                           const RandomTile& tile);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_GPU_TENSORS_H_
