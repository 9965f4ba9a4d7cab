#ifndef KVFERRY_SDK_PUBLICATION_RECORD_H_
#define KVFERRY_SDK_PUBLICATION_RECORD_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kvferry/publish.h"
#include "protocol/shm_layout.h"
#include "sdk/progress_writer.h"

namespace kvferry::sdk {

class GrantPool;

// Whether the application is to fill the position's pages.
inline bool IsWritten(BlockOutcome outcome) {
  return outcome == BlockOutcome::kWriting || outcome == BlockOutcome::kStandby;
}

// One position of a publication, as the client knows it.
//
// The application may write to `block` from Begin until it commits, aborts or
// closes the position, whatever the daemon answers in between. A block that
// was offered and not taken is therefore back in the grant pool only when both
// have happened: the begin was answered, and the application is done.
struct PublicationEntry {
  uint32_t block = protocol::kNoBlock;    // where the pages are
  uint32_t offered = protocol::kNoBlock;  // granted, lent to this position
  uint8_t group = 0;
  uint8_t pool = 0;  // where `block` lies: 0 the host, else a GPU pool
  BlockOutcome outcome = BlockOutcome::kVoid;
  bool begin_answered = false;
  bool awaits_block = false;  // Begin waits for the daemon to choose one
  bool app_done = false;      // committed, aborted or closed here
  bool range_sent = false;    // a commit or abort of it is under way
  bool range_answered = false;
};

// A publication: its positions, and what the daemon's answers make of them.
// Pure but for `progress`, which only the channel uses: nothing is sent.
//
// positions() is what a reader may rely on: the leading positions with which
// this process is done, because it committed them or because they are not its
// to write. A position that it may be writing, as one whose begin is not
// answered yet, counts only when it is committed; one that it gave up never
// does, nor what follows it. What the daemon makes of a committed position
// afterwards takes nothing back.
//
// Threads  one at a time
class PublicationRecord {
 public:
  PublicationRecord(uint32_t handle, uint64_t slice_set, bool whole)
      : handle_(handle), slice_set_(slice_set), whole_(whole) {}

  uint32_t handle() const { return handle_; }
  uint64_t slice_set() const { return slice_set_; }
  // Whether this is the one writer of every slice of the namespace.
  bool whole() const { return whole_; }

  uint32_t size() const { return static_cast<uint32_t>(entries_.size()); }
  const PublicationEntry& entry(uint32_t position) const {
    return entries_[position];
  }

  // Appends a position. `block`: a granted one of `pool` (the application may
  // write at once), kAlreadyThere, or kNoBlock (the daemon chooses).
  void Append(uint32_t group, uint32_t block, uint32_t pool = 0);
  // The begins of all positions so far are on their way; before, they do not
  // count.
  void MarkBegun();
  // Takes back the positions from `size` on, whose begin was never sent; lent
  // blocks go to `grants`.
  void Truncate(uint32_t size, GrantPool* grants);

  // Takes the position as committed or aborted by the application. Returns
  // whether the daemon is to be told: it is kWriting or kStandby and was not
  // ended before. After an abort its outcome is kVoid.
  bool EndPosition(uint32_t position, bool commit, GrantPool* grants);
  // The application is done with every position; what it did not commit is
  // void. Returns whether there was such a position.
  bool EndAll(GrantPool* grants);

  // The daemon's answer to one position: of its begin if that had none yet,
  // else of its commit or abort. `block` is kNoBlock unless it chose one, which
  // is of `pool`.
  void Answer(uint32_t position, protocol::PublishAnswer answer, uint32_t block,
              GrantPool* grants, uint32_t pool = 0);

  // The daemon is gone or has refused: what is not committed never will be.
  void MakeVoid();

  // How many leading positions are done.
  uint32_t positions() const { return positions_; }
  // Takes [first, first + count) for the chunk after everything that was
  // committed. It may begin with positions that are not this process's to
  // write. Returns where it ends for readers, positions() when they are not to
  // be told of it.
  // REQUIRES  first + count <= size()
  // Errors  kInvalidArgument  it is not the next chunk, or ends elsewhere than
  //                           was said before
  absl::StatusOr<uint32_t> TakeChunk(uint32_t first, uint32_t count);

  // Begins that wait for the daemon to choose a block.
  uint32_t awaiting() const { return awaiting_; }
  // Positions whose commit or abort is not answered.
  uint32_t unanswered_ranges() const { return unanswered_ranges_; }
  // Positions whose begin is not answered.
  uint32_t unanswered_begins() const { return unanswered_begins_; }

  // Used by the channel.
  ProgressWriter progress;
  bool opened = false;  // the daemon has answered the open
  // By group: the last tail, after which nothing is chained.
  std::vector<BlockKey> tails;
  bool closed = false;
  bool close_posted = false;
  bool abandoned = false;  // the Publication object is gone
  uint64_t close_position = 0;
  // Work of a device on its pages: until there is none, nothing that the device
  // may write is let go of.
  uint32_t holds = 0;
  bool close_due = false;  // closed, to be told when the last hold ends

 private:
  void AnswerBegin(uint32_t position, protocol::PublishAnswer answer,
                   uint32_t block, uint32_t pool);
  void ReturnOffered(PublicationEntry* entry, GrantPool* grants);
  // Nothing from `position` on is ever told as done.
  void GiveUpFrom(uint32_t position);
  void AdvancePositions();

  const uint32_t handle_;
  const uint64_t slice_set_;
  const bool whole_;
  std::vector<PublicationEntry> entries_;
  uint32_t begun_ = 0;
  uint32_t positions_ = 0;
  uint32_t given_up_from_ = ~uint32_t{0};
  uint32_t ended_ = 0;      // leading positions that the application ended
  uint32_t chunk_end_ = 0;  // as the application said
  uint32_t awaiting_ = 0;
  uint32_t unanswered_begins_ = 0;
  uint32_t unanswered_ranges_ = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_PUBLICATION_RECORD_H_
