#ifndef KVFERRY_MATCH_H_
#define KVFERRY_MATCH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kvferry/export.h"
#include "kvferry/key.h"
#include "kvferry/paged.h"

namespace kvferry {

class Client;
namespace sdk {
class Attachment;
class GpuImpl;
class Matcher;
}  // namespace sdk

// The keys of one group's blocks of a prompt, in token order.
struct GroupKeys {
  uint32_t group = 0;
  std::span<const BlockKey> keys;
  // Valid tokens of the last key's block, 0: a full one. Only with one group
  // under HitRule::kAllPrefix; it counts in tokens() when that block hits.
  uint32_t tail_tokens = 0;
};

// Where the bytes of a pinned block, or of one to be written, lie.
enum class BlockResidence : uint8_t { kNone = 0, kHost = 1, kGpu = 2 };

// The pins of one hit: blocks keep their bytes until it is released.
//
// Life cycle  1. empty   2. Client::Match fills it   3. read pages
//             4. Check() after the last copy out of them   5. Release()
//             (or destroy, or Match again into it, which releases first).
// Memory      Reusing one object makes Match free of allocation once it has
//             seen the longest prompt.
// Ownership   May outlive the Client's connection, not the Client.
// Threads     One thread at a time; it may move between threads.
class KVFERRY_EXPORT PinnedPrefix {
 public:
  PinnedPrefix() = default;
  PinnedPrefix(PinnedPrefix&& other) noexcept;
  PinnedPrefix& operator=(PinnedPrefix&& other) noexcept;
  ~PinnedPrefix() { Release(); }

  // Tokens of the prompt that are here: the largest boundary at which every
  // group's rule holds. 0 is a miss, which is not an error.
  uint64_t tokens() const { return tokens_; }

  // Group `group`'s pinned blocks are positions [first, first + count) of the
  // keys that were given for it; first is 0 under HitRule::kAllPrefix.
  uint32_t first_block(uint32_t group = 0) const;
  uint32_t block_count(uint32_t group = 0) const;

  // Which residence of a position is pinned; kNone for one that is not.
  BlockResidence residence(uint32_t position, uint32_t group = 0) const;

  // One page, read-only; empty when its pinned residence is a GPU's (see
  // Gpu::PullTo and Gpu::DevicePage).
  // REQUIRES  position in [first_block, first_block + block_count) of the
  //           group; slice < its slice_count
  std::span<const std::byte> page(uint32_t position, uint32_t slice = 0,
                                  uint32_t group = 0) const;

  // Copies positions [first, first + engine_blocks.size()) of `group` into the
  // engine's blocks (kNoEngineBlock: skipped), all slices that `memory` has, of
  // the last one the first `last_tokens` tokens (0: all); then checks.
  // Errors  kInvalidArgument  positions that are not pinned, a group unlike
  //                           memory's, a block that the memory has not
  //         kFailedPrecondition  a position that is pinned in a GPU
  //         kAborted          as Check
  absl::Status CopyTo(const PagedMemory& memory, uint32_t group, uint32_t first,
                      std::span<const uint64_t> engine_blocks,
                      uint32_t last_tokens = 0) const;

  // Whether what was read out of the pages so far can be trusted.
  // Cost    one load, and one for each GPU pool that blocks are pinned in
  // Errors  kAborted  the daemon revoked this session's pins meanwhile, or the
  //                   worker process that owned a GPU's blocks died: discard
  //                   what was copied, it is a miss
  absl::Status Check() const;

  // Gives the pins back. Call it after the last copy out of the pages has
  // completed, not after it was launched. Does nothing when empty.
  void Release();

 private:
  friend class sdk::GpuImpl;
  friend class sdk::Matcher;
  // A GPU pool that blocks are pinned in, and which of its memories that was.
  struct PoolUse {
    uint32_t pool = 0;
    uint32_t incarnation = 0;
  };
  struct Range {
    uint32_t group = 0;
    uint32_t first = 0;  // position of the first pinned block
    uint32_t count = 0;
    uint32_t offset = 0;  // of its block number in blocks_
  };

  const Range* Find(uint32_t group) const;
  // The block of a position; all ones: it is not pinned.
  uint32_t BlockAt(uint32_t position, uint32_t group) const;
  // As of the match; 0: no block of the pool is pinned.
  uint32_t IncarnationOf(uint32_t pool) const;

  sdk::Attachment* attachment_ = nullptr;  // non-null while pins stand
  uint64_t tokens_ = 0;
  std::vector<Range> ranges_;
  std::vector<uint32_t> blocks_;
  std::vector<uint64_t> scratch_;  // residence words of the call
  std::vector<PoolUse> pools_;
};

}  // namespace kvferry

#endif  // KVFERRY_MATCH_H_
