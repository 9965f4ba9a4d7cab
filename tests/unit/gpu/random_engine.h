#ifndef KVFERRY_TESTS_UNIT_GPU_RANDOM_ENGINE_H_
#define KVFERRY_TESTS_UNIT_GPU_RANDOM_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gpu/engine_layout.h"
#include "kvferry/layout.h"
#include "kvferry/paged.h"

namespace kvferry::gpu {

// An engine's paged tensors as a seed makes them: any order of layers, K and V,
// blocks, tokens and heads, any of them running backwards, gaps, addresses and
// sizes that are not aligned, layers that are alike or not. Without memory: the
// same engine can be laid over several.
class RandomEngine {
 public:
  explicit RandomEngine(std::mt19937_64* random);

  const GroupSpec& group() const { return group_; }
  uint64_t block_count() const { return block_count_; }
  uint32_t slice_first() const { return slice_first_; }
  uint32_t slice_end() const;
  // Of memory that holds all of it.
  uint64_t bytes() const { return bytes_; }
  std::string ToString() const;

  // The engine in memory that begins there.
  PagedOptions OptionsAt(std::byte* memory) const;
  EngineLayout LayoutAt(std::byte* memory) const;

 private:
  // Places `layers` layers, alike, behind what there is.
  void Place(uint32_t layers, std::mt19937_64* random);
  std::vector<PagedLayer> LayersAt(std::byte* memory) const;

  GroupSpec group_;
  uint64_t block_count_ = 0;
  uint32_t slice_first_ = 0;
  uint32_t slice_count_ = 0;
  uint32_t sub_blocks_ = 1;
  std::vector<PagedLayer> layers_;  // bases are null
  std::vector<int64_t> offsets_;    // of the layers' bases
  uint64_t bytes_ = 0;
  std::string order_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_TESTS_UNIT_GPU_RANDOM_ENGINE_H_
