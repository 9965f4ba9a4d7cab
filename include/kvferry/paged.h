#ifndef KVFERRY_PAGED_H_
#define KVFERRY_PAGED_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvferry/export.h"
#include "kvferry/layout.h"

namespace kvferry {

// Where an engine keeps one layer of a group, as copy.h's PagedTensor does:
//
//   address(kv, block, token, head) = base + kv * kv_stride +
//       block * block_stride + token * token_stride + head * head_stride
struct PagedLayer {
  std::byte* base = nullptr;
  int64_t kv_stride = 0;
  int64_t block_stride = 0;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
};

struct PagedOptions {
  std::vector<PagedLayer> layers;  // one for each of the group's
  // Blocks of block_tokens that the memory has.
  uint64_t block_count = 0;
  // The slices whose heads lie in this memory, one after the other: head h of
  // slice s is the memory's head (s - slice_first) * head_count + h.
  uint32_t slice_first = 0;
  uint32_t slice_count = 0;  // 0: all
  // Engines whose kernels take smaller blocks: block b is the memory's blocks
  // b * sub_blocks to (b + 1) * sub_blocks, each of block_tokens / sub_blocks
  // tokens.
  uint32_t sub_blocks = 1;
};

// An engine block to skip, in lists of them.
inline constexpr uint64_t kNoEngineBlock = UINT64_MAX;

// An engine's paged memory of one group, checked once and copied from and to
// many times. The layers may lie anywhere and in any order of strides. A
// description: the memory stays the engine's, and must outlive the copies.
//
// Threads  any number at once
class KVFERRY_EXPORT PagedMemory {
 public:
  // Errors  kInvalidArgument  other than layer_count layers, a null base, no
  //                           blocks, slices beyond the group's, sub_blocks
  //                           that do not divide block_tokens, a malformed
  //                           group
  static absl::StatusOr<PagedMemory> Create(const GroupSpec& group,
                                            PagedOptions options);

  const GroupSpec& group() const;
  uint32_t slice_first() const;
  uint32_t slice_end() const;
  uint64_t block_count() const;
  // As they were given, slice_count filled in. Copies of a PagedMemory have the
  // same ones, at the same address.
  const PagedOptions& options() const;

  // Copies the engine's block into a page of `slice`, or back. The first
  // `valid_tokens` tokens are copied (0: all of them). The same for layers
  // [layer, layer + layers) of a page, whose bytes are given.
  // Errors  kInvalidArgument  a block, slice, layer or size that is not there
  absl::Status Gather(uint64_t engine_block, uint32_t slice,
                      std::span<std::byte> page,
                      uint32_t valid_tokens = 0) const;
  absl::Status Scatter(uint64_t engine_block, uint32_t slice,
                       std::span<const std::byte> page,
                       uint32_t valid_tokens = 0) const;
  absl::Status ScatterLayers(uint64_t engine_block, uint32_t slice,
                             uint32_t layer, uint32_t layers,
                             std::span<const std::byte> bytes,
                             uint32_t valid_tokens = 0) const;

 private:
  struct Impl;
  explicit PagedMemory(std::shared_ptr<const Impl> impl)
      : impl_(std::move(impl)) {}

  std::shared_ptr<const Impl> impl_;  // copies share it
};

}  // namespace kvferry

#endif  // KVFERRY_PAGED_H_
