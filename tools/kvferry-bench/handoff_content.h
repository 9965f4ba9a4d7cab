#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_CONTENT_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_CONTENT_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvferry/layout.h"
#include "tools/kvferry-bench/buffer.h"

namespace kvferry::bench {

// The bytes of every round of `handoff`, as the publisher writes and the reader
// expects them: each layer of each block is a stretch of one buffer of random
// bytes, chosen by round, block and layer, so that bytes of another round,
// block or layer are wrong ones.
// Memory  64 MiB, which is more than the caches hold
class HandoffContent {
 public:
  // Errors  as Buffer::Private
  static absl::StatusOr<HandoffContent> Make(const GroupSpec& group);

  uint64_t page_bytes() const { return layer_bytes_ * layer_count_; }
  uint64_t layer_bytes() const { return layer_bytes_; }
  uint32_t layer_count() const { return layer_count_; }

  const std::byte* Layer(uint64_t round, uint32_t block, uint32_t layer) const;
  // Errors  kDataLoss  `page` is not what block `block` of the round holds; the
  //                    first wrong layer is named
  absl::Status CheckPage(uint64_t round, uint32_t block,
                         std::span<const std::byte> page) const;
  // Reads all of it, so that caches hold nothing else afterwards.
  void SweepCaches() const;

 private:
  HandoffContent(Buffer bytes, const GroupSpec& group);

  Buffer bytes_;
  uint64_t layer_bytes_;
  uint32_t layer_count_;
};

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_CONTENT_H_
