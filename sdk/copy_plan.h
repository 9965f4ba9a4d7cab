#ifndef KVFERRY_SDK_COPY_PLAN_H_
#define KVFERRY_SDK_COPY_PLAN_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvferry::sdk {

// One loop over a page: how often, and how far apart the items lie on either
// side. Strides of the engine's side may be negative.
struct CopyLoop {
  uint64_t count = 1;
  int64_t memory_stride = 0;
  int64_t page_stride = 0;
};

// How part of a page is copied to or from an engine's strided memory:
// run_bytes at a time, under loops. Runs that are contiguous on both sides are
// one.
class CopyPlan {
 public:
  // Outermost first: layers, K and V, parts of a block, tokens, heads.
  using Loops = std::array<CopyLoop, 5>;

  CopyPlan() = default;
  // `item_bytes` are what the innermost loop counts.
  CopyPlan(const Loops& loops, size_t item_bytes);

  // Each takes the addresses of the first item on both sides.
  void ToPage(const std::byte* memory, std::byte* page) const;
  void FromPage(std::byte* memory, const std::byte* page) const;

 private:
  // Whether runs are stored past the caches, one by one.
  bool StreamsRuns(uint64_t target_bits) const;
  template <typename Copy>
  void ForEachRun(const Copy& copy) const;

  Loops loops_;
  size_t run_bytes_ = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_COPY_PLAN_H_
