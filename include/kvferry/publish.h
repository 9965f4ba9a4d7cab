#ifndef KVFERRY_PUBLISH_H_
#define KVFERRY_PUBLISH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kvferry/export.h"
#include "kvferry/key.h"
#include "kvferry/match.h"
#include "kvferry/paged.h"

namespace kvferry {

namespace sdk {
class GpuImpl;
class PublicationState;
}  // namespace sdk

// What became of one block of a publication.
enum class BlockOutcome : uint8_t {
  kWriting = 0,    // yours: fill its pages, then commit
  kCommitted = 1,  // your slices are; visible once every slice's writer is
  kExists = 2,     // was there already: nothing to write
  kInFlight = 3,   // another publication writes it: nothing to write
  kNoSpace = 4,    // memory is full of blocks that are pinned or being written
  kVoid = 5,       // aborted, cleared, or the daemon went away
  // Another publication writes it; write it, too, as with kWriting: this copy
  // is taken if the other fails. Committed, it is kCommitted, and kExists once
  // the other was faster (its memory went back).
  kStandby = 6,
};

struct PublicationOptions {
  // Ranks that write slices of the same blocks join by these two numbers.
  // Zero instance: a random one, for a publication with a single writer.
  uint64_t engine_instance = 0;
  uint64_t publication = 0;
  // The slices this process writes: [slice_first, slice_first + slice_count).
  // slice_count 0: all of them.
  uint32_t slice_first = 0;
  uint32_t slice_count = 0;
  // The daemon gives the publication up when blocks are begun and neither
  // CommitLayers nor Commit has moved it on for so long: what is not complete
  // is aborted, its readers are told, and its memory rests until this process
  // lets go of it. 100 ms to 10 min.
  absl::Duration stall_timeout = absl::Seconds(30);
  // kGpu: write into the pool of the device that this client opened
  // (Gpu::Open); blocks that find no room there are host blocks. Others: host
  // blocks. Ranks that join get the block that there is, wherever it lies; one
  // that this process cannot reach is aborted, for all of them.
  BlockResidence residence = BlockResidence::kHost;
  // Write keys once more that another publication is writing; see kStandby.
  bool standby = true;
};

// An append-only sequence of chunks of blocks, written by one engine for one
// sequence. Blocks are numbered by position, from 0, in the order they were
// begun. Other processes may read them while they are written
// (kvferry/stream.h): every Commit of the next positions in order is a chunk
// that they see at once, every CommitLayers a part of one.
//
// Life cycle  1. Client::OpenPublication
//             2. Begin (positions p..p+n)   3. fill page(i, slice) of those
//             that are kWriting or kStandby, perhaps with CommitLayers(p, n, l)
//             as layers are done   4. Commit(p, n)   5. back to 2 at will
//             (decode appends what it generates)   6. SetHandOver before the
//             last commit, if there is something to hand over   7. Close, or
//             Abort. Destroying it aborts what is not committed. All three wait
//             for copies of Gpu::PublishFrom that are under way.
// Threads     One thread at a time. Several publications of one Client may be
//             used by several threads.
class KVFERRY_EXPORT Publication {
 public:
  Publication(Publication&&) noexcept;
  Publication& operator=(Publication&&) noexcept;
  ~Publication();

  // Appends blocks for `keys` (chained after `parent`, none for a prompt's
  // start) of `group` and returns the position of the first.
  //
  // A single writer of all slices with blocks granted ahead waits for nobody:
  // keys that are visible already are kExists, the rest kWriting, and the
  // daemon's answer may turn kWriting into another outcome later. Otherwise
  // one round trip to the daemon, until `deadline`.
  //
  // Errors  kInvalidArgument     no keys, or more than 16,384; unknown group;
  //                              slices beyond the group's
  //         kResourceExhausted   65,536 blocks in one publication
  //         kUnavailable         the daemon is or was away: this publication is
  //                              void, open a new one when it is back
  //         kDeadlineExceeded    it did not answer; the publication is void
  //         On error nothing was begun.
  absl::StatusOr<uint32_t> Begin(uint32_t group, const BlockKey& parent,
                                 std::span<const BlockKey> keys,
                                 absl::Time deadline = absl::Now() +
                                                       absl::Seconds(5));
  // The same, with a tail: only the first `tail_tokens` tokens of the last
  // key's block are valid, as its key says (0: it is a full block). Nothing is
  // chained after a tail.
  // Errors  also kInvalidArgument  tail_tokens of a full block or more
  absl::StatusOr<uint32_t> BeginWithTail(
      uint32_t group, const BlockKey& parent, std::span<const BlockKey> keys,
      uint32_t tail_tokens,
      absl::Time deadline = absl::Now() + absl::Seconds(5));

  // Cost  takes in the daemon's answers so far; no system call but a doorbell
  //       when the daemon sleeps for want of room to answer
  BlockOutcome outcome(uint32_t position);
  uint32_t size() const;

  // Where a position that is to be written lies; kNone for others.
  BlockResidence residence(uint32_t position);

  // One page to fill.
  // REQUIRES  position < size(), slice is one of this publication's
  // Empty exactly when the position's outcome is neither kWriting nor kStandby,
  // or its block is in a GPU (see Gpu::PublishFrom and Gpu::DevicePage).
  std::span<std::byte> page(uint32_t position, uint32_t slice);

  // Fills every page of positions [first, first + engine_blocks.size()) that is
  // to be written, of the slices that both this publication writes and `memory`
  // has, from the engine's blocks (kNoEngineBlock: left alone). Of the last one
  // the first `last_tokens` tokens (0: all). Returns how many blocks it filled.
  // Errors  kInvalidArgument  positions beyond size(), of a group unlike
  //                           memory's, a block that the memory has not
  //         kFailedPrecondition  a position that is to be written in a GPU
  absl::StatusOr<uint32_t> Fill(uint32_t first, const PagedMemory& memory,
                                std::span<const uint64_t> engine_blocks,
                                uint32_t last_tokens = 0);

  // Says that of [first, first + count), the chunk after everything that was
  // committed, the first `layers` layers of this process's slices are written.
  // No message: one store and one wake of whoever waits for it. Once it was
  // called for a chunk, its end stays until the chunk is committed. A page with
  // fewer layers is whole at its last one; layers beyond 4,095 are not told.
  // Errors  kInvalidArgument     the chunk is not the next one, or ends
  //                              elsewhere than before
  //         kFailedPrecondition  closed
  //         kUnavailable         the daemon went away
  absl::Status CommitLayers(uint32_t first, uint32_t count, uint32_t layers);

  // Says that this process's slices of [first, first + count) are written.
  // Positions that are not kWriting are skipped. Does not wait. Readers that
  // follow see a commit in order at once; one out of order when the daemon has
  // taken it in.
  // Errors  kInvalidArgument  range beyond size()
  //         kUnavailable      the daemon is away; those blocks are kVoid
  absl::Status Commit(uint32_t first, uint32_t count);

  // The same, then waits until the daemon has taken it in; blocks whose every
  // slice is committed are visible to everybody when it returns.
  // Errors  also kDeadlineExceeded
  absl::Status CommitAndWait(uint32_t first, uint32_t count,
                             absl::Time deadline = absl::Now() +
                                                   absl::Seconds(5));

  // What goes along with the blocks: first token, sampler state. Readers have
  // it with the next commit; a ticket for this publication keeps it. The last
  // call counts. Errors  kInvalidArgument     over 4,096 bytes
  //         kFailedPrecondition  closed
  //         kResourceExhausted   this publication cannot be followed: too many
  //                              are open (the ticket can carry it then)
  //         kDeadlineExceeded    the daemon did not answer the open in 5 s
  //         kUnavailable         the daemon went away
  absl::Status SetHandOver(absl::string_view bytes);

  // Gives up what is not committed. Never touch those pages again.
  void Abort();

  // Waits until every commit is answered, and ends the publication.
  // Errors  kDeadlineExceeded  (what a device still copies is aborted once it
  // is
  //         done), kUnavailable
  absl::Status Close(absl::Time deadline = absl::Now() + absl::Seconds(5));

 private:
  friend class Client;
  friend class sdk::GpuImpl;
  explicit Publication(std::unique_ptr<sdk::PublicationState> state);
  std::unique_ptr<sdk::PublicationState> state_;
};

}  // namespace kvferry

#endif  // KVFERRY_PUBLISH_H_
