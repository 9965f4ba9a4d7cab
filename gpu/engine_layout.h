#ifndef KVFERRY_GPU_ENGINE_LAYOUT_H_
#define KVFERRY_GPU_ENGINE_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kvferry/layout.h"
#include "kvferry/paged.h"

namespace kvferry::gpu {

// An engine's paged tensors of one group in device memory, as PagedMemory
// (kvferry/paged.h) describes them, and the order of a page:
//
//   engine  layers[l].base + kv * kv_stride + block * block_stride +
//           token * token_stride + head * head_stride          (see PagedLayer)
//   page    [layer][K,V][token][head of the slice][head_bytes], contiguous
//
// K/V split (kv_count 2) or packed (1), NHD and HND, MLA's single latent
// (kv_count 1, head_count 1), slices, kernel blocks smaller than the engine's:
// all of them are strides. Bytes are bytes: fp8, bf16 or opaque.
struct EngineLayout {
  GroupSpec group;
  std::vector<PagedLayer> layers;  // group.layer_count
  uint64_t block_count = 0;
  uint32_t slice_first = 0;
  // Those whose heads lie in this memory; 0: all from slice_first.
  uint32_t slice_count = 0;
  uint32_t sub_blocks = 1;

  // Errors  kInvalidArgument  what PagedMemory::Create refuses, too
  absl::Status Check() const;
  // The longest run of bytes that is contiguous on both sides, for a full block
  // (a fragment of one layer, K or V, when tokens and heads are dense); where
  // layers differ, the shortest of theirs; 0 when Check refuses.
  uint64_t RunBytes() const;
};

struct LayerRange {
  uint32_t first = 0;
  uint32_t count = 0;  // 0: to the last
};

// One slice of one block.
struct PageTransfer {
  uint64_t engine_block = 0;
  // The page's first byte (of layer 0, whatever the range), as the device sees
  // it: in its own memory, a peer's, or registered host memory.
  std::byte* page = nullptr;
  uint32_t slice = 0;
  uint32_t valid_tokens = 0;  // 0: all
};

// What a Device made of an EngineLayout.
class PreparedLayout {
 public:
  virtual ~PreparedLayout() = default;
  const EngineLayout& layout() const { return layout_; }

 protected:
  explicit PreparedLayout(EngineLayout layout) : layout_(std::move(layout)) {}

 private:
  const EngineLayout layout_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_ENGINE_LAYOUT_H_
