#ifndef KVFERRY_SDK_PUBLISH_CHANNEL_H_
#define KVFERRY_SDK_PUBLISH_CHANNEL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "kvferry/key.h"
#include "kvferry/publish.h"
#include "protocol/limits.h"
#include "protocol/shm_layout.h"
#include "sdk/grant_pool.h"
#include "sdk/pool_map.h"
#include "sdk/publication_record.h"
#include "sdk/reply_ring.h"
#include "sdk/session_files.h"
#include "sdk/submit_ring.h"

namespace kvferry::sdk {

// The publishing half of a session: both rings, the blocks granted ahead, the
// open publications and what they tell of their progress. One mutex; replies
// are taken in by whoever holds it.
//
// Progress is told where positions() moves, under the mutex: by a commit before
// it goes into the ring, so that readers do not wait for the daemon, and by an
// answer that leaves a position to somebody else.
//
// A device that copies into a publication's pages does so under a hold. While
// there is one the daemon is not told of any end of the publication but by
// Commit and AbortOne: what a device may still write is not let go of
// (INV-PUB-3).
//
// Threads  any number; one at a time for one publication
class PublishChannel {
 public:
  struct Options {
    // How long a waiting thread polls before it sleeps.
    absl::Duration spin = absl::Microseconds(20);
    int doorbell_fd = -1;
    // An eventfd that has Service() called soon by a background thread; -1:
    // nobody does.
    int service_fd = -1;
  };

  // What kOpen says of a publication.
  struct OpenRequest {
    uint64_t engine_instance = 0;
    uint64_t publication = 0;
    uint64_t slice_set = 0;
    uint32_t stall_ms = protocol::kStallMsDefault;
    bool standby = false;
  };

  PublishChannel(const SessionMemory& memory, const Options& options);
  PublishChannel(const PublishChannel&) = delete;
  PublishChannel& operator=(const PublishChannel&) = delete;

  // Opens a publication. The record stays until Abandon().
  // Errors  kResourceExhausted  4,096 are open
  //         kUnavailable, kDeadlineExceeded
  absl::StatusOr<PublicationRecord*> Open(const OpenRequest& request,
                                          absl::Time deadline);
  // Waits until the daemon has answered the open: then a ticket may name the
  // handle.
  // Errors  kFailedPrecondition  closed
  //         kUnavailable, kDeadlineExceeded
  absl::Status WaitForOpen(PublicationRecord* record, absl::Time deadline);

  // Begins `keys` after `parent`, the last of them with `tail_tokens` valid
  // tokens (0: a full block). `ready[i]` says that key i was seen in the index;
  // only read of whole publications, and may be empty otherwise. In blocks of
  // `pool` (0: the host's) as far as it has any; others come from the host's.
  // Returns the first position.
  // REQUIRES  pool is 0, or one of the group's on the opened device
  // Errors  see Publication::BeginWithTail
  absl::StatusOr<uint32_t> Begin(PublicationRecord* record, uint32_t group,
                                 const BlockKey& parent,
                                 std::span<const BlockKey> keys,
                                 uint32_t tail_tokens,
                                 std::span<const uint8_t> ready,
                                 absl::Time deadline, uint32_t pool = 0);

  // A position as of the daemon's answers so far.
  PublicationEntry Look(PublicationRecord* record, uint32_t position);
  // How many of [first, first + count) are kCommitted or kExists.
  uint32_t CountVisible(PublicationRecord* record, uint32_t first,
                        uint32_t count);

  // Tells the daemon that positions are written. Does not wait.
  absl::Status Commit(PublicationRecord* record, uint32_t first,
                      uint32_t count);
  // See Publication::CommitLayers.
  absl::Status CommitLayers(PublicationRecord* record, uint32_t first,
                            uint32_t count, uint32_t layers);
  // See Publication::SetHandOver.
  // REQUIRES  bytes.size() <= kHandOverBytesMax
  absl::Status SetHandOver(PublicationRecord* record, absl::string_view bytes,
                           absl::Time deadline);
  // Waits until every commit of the publication is answered.
  absl::Status WaitForAnswers(PublicationRecord* record, absl::Time deadline);

  // Gives up what is not committed, and says so to readers. What is begun
  // afterwards they see when it is ready, not before. Does not wait.
  void Abort(PublicationRecord* record);
  // Gives one position up; what follows it may still be committed.
  void AbortOne(PublicationRecord* record, uint32_t position);
  // Ends the publication; what is not committed is aborted. Does not wait.
  void Close(PublicationRecord* record);
  // The same, and the record is used no more.
  void Abandon(PublicationRecord* record);

  // A device is going to write to the publication's pages.
  void Hold(PublicationRecord* record);
  // It is done. The last one lets a close that is due go; nothing of the record
  // is touched afterwards.
  void Unhold(PublicationRecord* record);
  // Waits until nothing is held. False: not before the deadline.
  bool WaitForHolds(PublicationRecord* record, absl::Time deadline);

  // Takes in replies, gives recalled blocks back, sends what found no room.
  void Service();
  // Has somebody call Service().
  void AskForService();
  // Waits until the daemon has taken in everything submitted so far.
  absl::Status Flush(absl::Time deadline);
  // Whether Service() should be called again before long.
  bool NeedsService();

  // The daemon is gone: everything under way is void, all calls answer
  // kUnavailable from now on, waiting threads come back.
  void MakeVoid();

  // Blocks granted and unused, for tests.
  uint32_t granted(uint32_t group, uint32_t pool = 0);

 private:
  static absl::Status Unavailable();

  // Takes in all replies.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Take(const protocol::ReplyRecord& reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeAnswer(const protocol::ReplyRecord& reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeOpened(const protocol::ReplyRecord& reply)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(uint32_t group, uint32_t pool, uint32_t count)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Sends a run, waiting for room. What was deferred goes first.
  absl::Status Post(std::span<const protocol::SubmitRecord> run,
                    absl::Time deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends one record, now or when there is room.
  void Defer(const protocol::SubmitRecord& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FlushDeferred() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Refuses calls from here on, and tells the daemon once nothing is held.
  void CloseRecord(PublicationRecord* record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendClose(PublicationRecord* record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether a block that the daemon names is one of the group's in the pool it
  // names.
  bool IsBlockOf(uint32_t group, uint32_t pool, uint32_t block) const;
  void ReapClosed(uint64_t consumed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Ends positions here and leaves in ranges_ what the daemon is to be told of
  // those that were being written, for SendRanges.
  void EndRange(PublicationRecord* record, uint32_t first, uint32_t count,
                protocol::SubmitType type)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendRanges() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Takes in replies until done() holds; lets go of the mutex while it waits.
  // `for_room`: for the daemon to take submissions, which is not announced.
  absl::Status WaitUntil(absl::FunctionRef<bool()> done, bool for_room,
                         absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const SessionMemory memory_;
  const std::vector<protocol::GroupRecord> groups_;
  const uint64_t all_slices_;
  const PoolMap pools_;

  Mutex mutex_;
  CondVar unheld_;  // a record's last hold has ended
  SubmitRing submissions_ ABSL_GUARDED_BY(mutex_);
  ReplyRing replies_ ABSL_GUARDED_BY(mutex_);
  GrantPool grants_ ABSL_GUARDED_BY(mutex_);
  bool void_ ABSL_GUARDED_BY(mutex_) = false;
  uint32_t next_handle_ ABSL_GUARDED_BY(mutex_) = 1;
  uint32_t open_count_ ABSL_GUARDED_BY(mutex_) = 0;
  // Positions of open publications, which the daemon bounds.
  uint32_t entry_count_ ABSL_GUARDED_BY(mutex_) = 0;
  // Records that found no room: commits, aborts, closes and returns, which
  // their callers do not wait for.
  std::deque<protocol::SubmitRecord> deferred_ ABSL_GUARDED_BY(mutex_);
  // By handle; until the daemon has taken in their close, so that no answer
  // meets another publication under its handle. Not Abseil's map: its sampling
  // cannot be linked into an extension of Python (Debian's archives of it are
  // for executables).
  std::unordered_map<uint32_t, std::unique_ptr<PublicationRecord>> records_
      ABSL_GUARDED_BY(mutex_);
  // Closed and abandoned.
  std::deque<PublicationRecord*> closing_ ABSL_GUARDED_BY(mutex_);
  std::vector<protocol::SubmitRecord> run_ ABSL_GUARDED_BY(mutex_);
  std::vector<protocol::SubmitRecord> ranges_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_PUBLISH_CHANNEL_H_
