#ifndef KVFERRY_COPY_H_
#define KVFERRY_COPY_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kvferry/export.h"
#include "kvferry/layout.h"

namespace kvferry {

// Copies between memory that does not overlap, the fastest way this CPU has
// for the size: libc's for what fits caches, non-temporal AVX-512 or AVX2
// stores for large blocks that will not be read here soon.
// Threads  any. Complete, and visible to what follows a release store, when it
//          returns.
KVFERRY_EXPORT void CopyBytes(void* target, const void* source, size_t bytes);

// Where an engine keeps one group's KV in its own paged memory.
//
//   address(layer, kv, block, token, head) =
//       base + layer * layer_stride + kv * kv_stride + block * block_stride +
//       token * token_stride + head * head_stride
//
// Strides are bytes and may be anything (packed K/V: kv_stride inside a token;
// HND: head_stride > token_stride). A head's head_bytes are contiguous.
struct PagedTensor {
  std::byte* base = nullptr;
  int64_t layer_stride = 0;
  int64_t kv_stride = 0;
  int64_t block_stride = 0;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
};

// Copies engine block `engine_block` of `tensor` into one page of `group`
// (gather), or back (scatter). Runs that are contiguous on both sides are
// copied at once.
//
// Shape   page.size() == group.page_bytes(); the first `valid_tokens` tokens
//         are copied (0: all of them)
// Errors  kInvalidArgument  page of another size, valid_tokens beyond
//                           block_tokens, null base
KVFERRY_EXPORT absl::Status GatherPage(const GroupSpec& group,
                                       const PagedTensor& tensor,
                                       uint64_t engine_block,
                                       std::span<std::byte> page,
                                       uint32_t valid_tokens = 0);
KVFERRY_EXPORT absl::Status ScatterPage(const GroupSpec& group,
                                        std::span<const std::byte> page,
                                        const PagedTensor& tensor,
                                        uint64_t engine_block,
                                        uint32_t valid_tokens = 0);

// The same for layers [layer, layer + layers) of a page alone: `bytes` holds
// those, as PrefixStream::CopyOut gets them.
// Errors  also kInvalidArgument  bytes of another size, layers beyond the
//                                group's
KVFERRY_EXPORT absl::Status ScatterLayers(const GroupSpec& group,
                                          std::span<const std::byte> bytes,
                                          uint32_t layer, uint32_t layers,
                                          const PagedTensor& tensor,
                                          uint64_t engine_block,
                                          uint32_t valid_tokens = 0);
KVFERRY_EXPORT absl::Status GatherLayers(const GroupSpec& group,
                                         const PagedTensor& tensor,
                                         uint64_t engine_block, uint32_t layer,
                                         uint32_t layers,
                                         std::span<std::byte> bytes,
                                         uint32_t valid_tokens = 0);

}  // namespace kvferry

#endif  // KVFERRY_COPY_H_
