#ifndef KVFERRY_PUBLISH_H_
#define KVFERRY_PUBLISH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kvferry/export.h"
#include "kvferry/key.h"

namespace kvferry {

namespace sdk {
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
};

// An append-only sequence of blocks, written by one engine for one sequence.
// Blocks are numbered by position, from 0, in the order they were begun.
//
// Life cycle  1. Client::OpenPublication
//             2. Begin (positions p..p+n)   3. fill page(i, slice) of those
//             that are kWriting   4. Commit(p, n)   5. back to 2 at will
//             6. Close, or Abort. Destroying it aborts what is not committed.
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

  // Cost  takes in the daemon's answers so far; no system call but a doorbell
  //       when the daemon sleeps for want of room to answer
  BlockOutcome outcome(uint32_t position);
  uint32_t size() const;

  // One page to fill.
  // REQUIRES  position < size(), slice is one of this publication's
  // Empty exactly when the position's outcome is not kWriting.
  std::span<std::byte> page(uint32_t position, uint32_t slice);

  // Says that this process's slices of [first, first + count) are written.
  // Positions that are not kWriting are skipped. Does not wait.
  // Errors  kInvalidArgument  range beyond size()
  //         kUnavailable      the daemon is away; those blocks are kVoid
  absl::Status Commit(uint32_t first, uint32_t count);

  // The same, then waits until the daemon has taken it in; blocks whose every
  // slice is committed are visible to everybody when it returns.
  // Errors  also kDeadlineExceeded
  absl::Status CommitAndWait(uint32_t first, uint32_t count,
                             absl::Time deadline = absl::Now() +
                                                   absl::Seconds(5));

  // Gives up what is not committed. Never touch those pages again.
  void Abort();

  // Waits until every commit is answered, and ends the publication.
  // Errors  kDeadlineExceeded, kUnavailable
  absl::Status Close(absl::Time deadline = absl::Now() + absl::Seconds(5));

 private:
  friend class Client;
  explicit Publication(std::unique_ptr<sdk::PublicationState> state);
  std::unique_ptr<sdk::PublicationState> state_;
};

}  // namespace kvferry

#endif  // KVFERRY_PUBLISH_H_
