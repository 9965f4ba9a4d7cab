#ifndef KVFERRY_SDK_GPU_PAGE_FINDER_H_
#define KVFERRY_SDK_GPU_PAGE_FINDER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "protocol/limits.h"
#include "sdk/attachment.h"
#include "sdk/gpu/host_memory.h"
#include "sdk/gpu_pools.h"

namespace kvferry::sdk {

// How the device gets at a block; each kind is a queue of its own, so that a
// slow way holds up no fast one.
enum class BlockHome : uint8_t {
  kNowhere = 0,   // its memory is not here (any more)
  kOwnPool = 1,   // in the device's own memory
  kPeerPool = 2,  // in another GPU's
  kHost = 3,      // in registered host memory
  kStaged = 4,    // in host memory that is not registered (yet)
};
inline constexpr uint32_t kDirectHomes = 3;  // kOwnPool to kHost

struct BlockPlace {
  BlockHome home = BlockHome::kNowhere;
  // Its first byte, as the device sees it; kStaged: as this process does.
  std::byte* address = nullptr;
};

// Finds the blocks of one transfer, and keeps the memory that it found them in.
//
// Threads  one at a time
class PageFinder {
 public:
  // `host` may be of another attachment (one that was replaced): then nothing
  // of it is found registered.
  PageFinder(Attachment* attachment, std::shared_ptr<const HostMemory> host)
      : attachment_(attachment), host_(std::move(host)) {}

  // `incarnation`: of the block's pool, as who pinned it knows it; 0: the one
  // that is there now.
  BlockPlace Find(uint32_t group, uint32_t block, uint32_t incarnation = 0);

  // Of the memory that blocks of `pool` were found in; 0: none were.
  uint32_t IncarnationOf(uint32_t pool) const {
    return pools_[pool - 1] == nullptr ? 0 : pools_[pool - 1]->incarnation;
  }
  // Whether a page was found that is not registered and might be.
  bool found_staged() const { return found_staged_; }

 private:
  Attachment* const attachment_;
  const std::shared_ptr<const HostMemory> host_;
  // By pool - 1.
  std::array<std::shared_ptr<const GpuPools::Imported>, protocol::kGpuPoolsMax>
      pools_;
  bool found_staged_ = false;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_PAGE_FINDER_H_
