#ifndef KVFERRY_SDK_GPU_POOLS_H_
#define KVFERRY_SDK_GPU_POOLS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "gpu/device.h"
#include "kvferry/options.h"
#include "protocol/control_generated.h"
#include "protocol/limits.h"
#include "protocol/shm_layout.h"
#include "sdk/pool_map.h"

namespace kvferry::sdk {

// Which GPU residences a match may take, as of its beginning.
struct UsablePools {
  // Whether a GPU's residence is taken before the host's.
  bool gpu_first = false;
  // By pool - 1: what the pool's record said; 0: its blocks are no hits.
  std::array<uint32_t, protocol::kGpuPoolsMax> incarnations;

  uint32_t incarnation(uint32_t pool) const { return incarnations[pool - 1]; }
};

// The GPU pools of a namespace as this process has them: which there are, and
// the memory of those that it imported. One in each Attachment; without an
// opened device it imports nothing and knows block numbers only.
//
// A pool that lost its memory is unusable from the moment the daemon says so in
// its record, whether the message about it was taken in or not. Its import
// stays while somebody holds it (Find) or has one of its blocks pinned.
//
// INV-GPU-2  What was copied out of a pool is believed only when the pool's
//            record says, after the copy, the incarnation it said before the
//            block was found.
//   Made by    the daemon: the record goes even before any block of the pool is
//              given to anybody else, odd when there is memory again.
//   Relied on  by PinnedPrefix::Check, StreamState::Confirm
//   Tested     tests/unit/sdk/client/gpu_match_test.cc, gpu_stream_test.cc
//
// Threads  any; Take, SetDevice, ClearDevice: one at a time
class GpuPools {
 public:
  // One memory of a pool. Kept alive by whoever copies from or to it.
  struct Imported {
    std::shared_ptr<gpu::Device> device;  // outlives the memory
    std::unique_ptr<gpu::DeviceMemory> memory;
    uint32_t incarnation = 0;
  };

  // `use` counts while no device is set.
  // REQUIRES  the header's memory stays as long as this
  explicit GpuPools(const protocol::IndexHeader* header,
                    ResidenceUse use = ResidenceUse::kHost);
  GpuPools(const GpuPools&) = delete;
  GpuPools& operator=(const GpuPools&) = delete;

  // Imports go through this device from here on, and hits are what it reaches.
  void SetDevice(std::shared_ptr<gpu::Device> device);
  // The daemon's number of it, whose pools are this process's own.
  void SetNumber(uint32_t number);
  // Why the daemon gives none of its pools.
  void SetRefusal(absl::Status why);
  // Enters memory that somebody else imported.
  void Enter(uint32_t pool, std::shared_ptr<const Imported> imported);
  // Lets go of everything imported; hits are again what `use` said.
  void ClearDevice();
  std::shared_ptr<gpu::Device> device() const;

  // Takes in what the daemon says of a pool: imports its memory, or lets go of
  // one that is gone (its users keep theirs until they are done).
  // Blocking  some milliseconds, on the driver
  // Errors    kInvalidArgument  the message contradicts the index: what, and
  //                             both values
  //           as gpu::Device::Import
  absl::Status Take(const protocol::wire::GpuPoolChangedT& changed,
                    UniqueFd fd);
  // Ends imports that were let go of and that nobody uses: `pinned(first,
  // count)` says whether one of those blocks is pinned by this session.
  // Returns how many are left.
  size_t Reclaim(
      absl::FunctionRef<bool(uint32_t first, uint32_t count)> pinned);

  // --- queries ---
  const PoolMap& map() const { return map_; }
  uint32_t pool_count() const { return map_.pool_count(); }
  // The pool's number of a block; 0: the host.
  uint32_t PoolOf(uint32_t block) const { return map_.PoolOf(block); }
  // Of a block within its pool's memory.
  // REQUIRES  PoolOf(block) != 0
  uint64_t OffsetOf(uint32_t block) const { return map_.OffsetOf(block); }

  // Whether a match has to look at GPU residences at all.
  // Cost  one load
  bool used() const { return used_.load(std::memory_order_acquire); }
  UsablePools Usable() const;
  // The pool of a group on the opened device; 0: none.
  uint32_t OwnPool(uint32_t group) const {
    return own_pools_[group].load(std::memory_order_acquire);
  }
  // Whether a hit there can be read by this process: lock-free, for Match.
  bool Reachable(uint32_t pool) const {
    return ReachableIncarnation(pool) != 0;
  }
  // Whether this process has any pool's memory.
  bool AnyReachable() const;
  // Whether the pool's memory is still the one of this incarnation.
  bool Stands(uint32_t pool, uint32_t incarnation) const {
    return Recorded(pool) == incarnation;
  }
  // The daemon is gone, and the workers with it: no memory stands any more.
  void MarkLost() { lost_.store(true, std::memory_order_release); }
  // The memory that is imported now; null: none, or it is gone.
  std::shared_ptr<const Imported> Find(uint32_t pool) const;
  // Why nothing is imported; Ok: something is.
  absl::Status status() const;

 private:
  // Of the memory that there is now, even when there is none.
  uint32_t Recorded(uint32_t pool) const {
    if (lost_.load(std::memory_order_acquire)) return 0;
    return header_->gpu_pools[pool - 1].incarnation.load(
        std::memory_order_acquire);
  }
  // The memory of this incarnation is imported and stands; 0: there is none.
  uint32_t ReachableIncarnation(uint32_t pool) const {
    const uint32_t imported =
        imported_[pool - 1].load(std::memory_order_acquire);
    return imported != 0 && Recorded(pool) == imported ? imported : 0;
  }
  void LetGo(uint32_t pool) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Import(const protocol::wire::GpuPoolChangedT& changed,
                      UniqueFd fd);
  void UpdateUse(bool has_device);

  // First: every match reads it, of a client without GPUs nothing else.
  std::atomic<bool> used_{false};
  const protocol::IndexHeader* const header_;
  const PoolMap map_;
  const ResidenceUse use_;

  std::atomic<bool> has_device_{false};
  std::atomic<bool> lost_{false};
  std::array<std::atomic<uint8_t>, protocol::kGroupsMax> own_pools_{};
  // By pool - 1: the incarnation that memories_ has; 0: none.
  std::array<std::atomic<uint32_t>, protocol::kGpuPoolsMax> imported_{};

  struct Retired {
    uint32_t pool = 0;
    std::shared_ptr<const Imported> memory;
  };
  mutable Mutex mutex_;
  std::shared_ptr<gpu::Device> device_ ABSL_GUARDED_BY(mutex_);
  // By pool - 1.
  std::array<std::shared_ptr<const Imported>, protocol::kGpuPoolsMax> memories_
      ABSL_GUARDED_BY(mutex_);
  std::vector<Retired> retired_ ABSL_GUARDED_BY(mutex_);
  absl::Status why_none_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_POOLS_H_
