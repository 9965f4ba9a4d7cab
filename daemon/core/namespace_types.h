#ifndef KVFERRY_DAEMON_CORE_NAMESPACE_TYPES_H_
#define KVFERRY_DAEMON_CORE_NAMESPACE_TYPES_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "kvferry/key.h"
#include "protocol/geometry.h"
#include "protocol/shm_layout.h"

// What goes into and comes out of NamespaceCore, beside shared memory.
namespace kvferry::core {

// The shared memory of a namespace, zeroed, as its one writer sees it.
// `index` is followed by geometry.bucket_count buckets and the publication
// records, `state` by geometry.block_capacity records, as shm_layout.h says.
struct NamespaceMemory {
  protocol::IndexHeader* index = nullptr;
  protocol::StateHeader* state = nullptr;
};

// How GPU pools are filled and emptied.
struct GpuPolicy {
  // Shares of a pool's blocks: with more than `high` of them in use, the
  // coldest that host memory has, too, are dropped until `low` are.
  double high_watermark = 0.95;
  double low_watermark = 0.85;
  // What may be copied to each device on account of its use; 0: nothing.
  uint64_t promotion_bytes_per_second = 0;
};

struct NamespaceConfig {
  uint64_t id = 0;
  uint64_t epoch = 0;
  protocol::Geometry geometry;
  GpuPolicy gpu;
};

// What `evict` and `clear` did.
struct EvictCounts {
  uint32_t evicted = 0;
  uint32_t pinned = 0;
};

// A block as operators see it.
struct BlockDescription {
  BlockKey key;
  uint32_t group = 0;
  uint32_t block = 0;
  uint32_t generation = 0;
  // Of its host residence; kFree: its bytes are in GPU memory only.
  protocol::ResidenceState state = protocol::ResidenceState::kFree;
  BlockKey parent;  // none when it is gone or never was
  uint32_t children = 0;
  uint32_t pins = 0;
  uint32_t last_use_ms = 0;
  // Its GPU residence; pool 0: it has none.
  uint32_t gpu_pool = 0;
  uint32_t gpu_block = protocol::kNoBlock;
  protocol::ResidenceState gpu_state = protocol::ResidenceState::kFree;
  uint32_t gpu_pins = 0;
};

// A block to be copied by the worker of a device.
struct CopyOrder {
  uint64_t id = 0;    // for CopyDone; never used twice, never zero
  uint32_t pool = 0;  // as messages number it: 1 is the first
  uint32_t gpu_block = 0;
  uint32_t host_block = 0;
  bool to_host = false;  // else to the GPU
  friend bool operator==(const CopyOrder&, const CopyOrder&) = default;
};

// A GPU pool as operators see it.
struct GpuPoolCounts {
  bool up = false;  // there is memory
  uint32_t capacity = 0;
  uint32_t absent = 0;
  uint32_t free = 0;
  uint32_t granted = 0;
  uint32_t publishing = 0;
  uint32_t ready = 0;
  uint32_t in_io = 0;  // being promoted
  uint32_t quarantined = 0;
  uint32_t resting = 0;    // of those quarantined
  uint32_t not_clean = 0;  // of those ready: host memory has no copy yet
  uint32_t high_blocks = 0;
  uint32_t low_blocks = 0;
  // Since the namespace was made.
  uint64_t written_behind = 0;
  uint64_t dropped = 0;
  uint64_t promoted = 0;
  uint64_t spilled = 0;  // published to host memory for want of room here
  uint64_t lost = 0;     // keys whose only copy went with the memory
};

// What one session holds.
struct SessionCounts {
  uint32_t granted = 0;  // host blocks
  uint32_t gpu_granted = 0;
  uint32_t publications = 0;
  uint32_t pinned_blocks = 0;  // in whichever memory
  uint32_t gpu_pinned_blocks = 0;
  uint64_t matches = 0;
  uint64_t hit_blocks = 0;
  std::optional<uint32_t> gpu_device;  // SetSessionGpu
};

struct NamespaceCounters {
  uint64_t lookups = 0;
  uint64_t hit_blocks = 0;
  uint64_t missed_lookups = 0;
  uint64_t published_blocks = 0;
  uint64_t evicted_blocks = 0;
  uint64_t aborted_blocks = 0;
  uint64_t no_space = 0;
  uint64_t standby_blocks = 0;  // taken as standby
  uint64_t adopted_blocks = 0;  // ... and put in a failed one's place
  uint64_t stalled_publications = 0;
};

// A writer that stood still: what of it was given up, in one Tick.
struct StallReport {
  uint16_t session = 0;
  uint32_t publications = 0;
  uint32_t blocks = 0;
};

// What a ticket is to hold.
struct LeaseRequest {
  uint32_t group = 0;
  std::span<const BlockKey> keys;
  uint32_t consumers = 1;
  uint64_t deadline_ms = 0;
  uint32_t tail_tokens = 0;  // of the last key's block; 0: full
  // Takes keys that are not ready, and holds them once they are.
  bool in_flight = false;
  // Who mints it, and its handle of the publication that brings what is not
  // there; handle 0: none.
  uint16_t session = 0;
  uint32_t handle = 0;
  std::string hand_over;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_NAMESPACE_TYPES_H_
