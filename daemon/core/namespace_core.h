#ifndef KVFERRY_DAEMON_CORE_NAMESPACE_CORE_H_
#define KVFERRY_DAEMON_CORE_NAMESPACE_CORE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/core/block_table.h"
#include "daemon/core/eviction_queue.h"
#include "daemon/core/index_writer.h"
#include "daemon/core/lease_table.h"
#include "daemon/core/progress_view.h"
#include "daemon/core/publication.h"
#include "daemon/core/publication_directory.h"
#include "daemon/core/retirer.h"
#include "daemon/core/session.h"
#include "kvferry/key.h"
#include "protocol/geometry.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// The shared memory of a namespace, zeroed, as its one writer sees it.
// `index` is followed by geometry.bucket_count buckets and the publication
// records, `state` by geometry.block_capacity records, as shm_layout.h says.
struct NamespaceMemory {
  protocol::IndexHeader* index = nullptr;
  protocol::StateHeader* state = nullptr;
};

struct NamespaceConfig {
  uint64_t id = 0;
  uint64_t epoch = 0;
  protocol::Geometry geometry;
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
  protocol::ResidenceState state = protocol::ResidenceState::kFree;
  BlockKey parent;  // none when it is gone or never was
  uint32_t children = 0;
  uint32_t pins = 0;
  uint32_t last_use_ms = 0;
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

// One namespace: its index, blocks, grants, publications, sessions, leases.
//
// A state machine without threads, clock or system calls: calls come in, and
// what must go out leaves as records in the sessions' ReplySinks and in
// TakePokes(). Time is a parameter, in milliseconds since the daemon started.
// It writes shared memory (index, state) and reads that of sessions (pins,
// touches), which may say anything: every value read from there is checked.
//
// Every block is in exactly one BlockState (INV-BLOCK-1, block_table.h).
//
// Threads  one (the control loop's, or a simulation's)
class NamespaceCore {
 public:
  // Writes the headers; the version words last.
  NamespaceCore(const NamespaceConfig& config, const NamespaceMemory& memory,
                const std::array<std::byte, 32>& fingerprint,
                const NamespaceSalt& salt);
  ~NamespaceCore();
  NamespaceCore(const NamespaceCore&) = delete;
  NamespaceCore& operator=(const NamespaceCore&) = delete;

  // --- memory ---

  // The segment is populated and every session was told: its blocks are free.
  void AddSegment(const protocol::SegmentPlan& plan);

  // --- sessions ---

  // `memory` and `sink` stay valid until RemoveSession.
  // Errors  kAlreadyExists     the number is in use
  //         kResourceExhausted kSessionsPerNamespaceMax
  absl::Status AddSession(uint16_t session, bool may_publish,
                          const SessionMemory& memory, ReplySink* sink,
                          uint64_t now_ms);

  // Its process is gone (or it unpinned all and said so): pins count no more,
  // grants come back, what it had not committed is aborted.
  void RemoveSession(uint16_t session, uint64_t now_ms);

  // It broke the protocol: nobody sees or waits for what it was publishing any
  // more, and it gets nothing. Its pins count, and what it may still be writing
  // rests, until RemoveSession.
  void RevokeSession(uint16_t session);

  // How many records a run is that starts with `head`: 1, or 1 + count.
  static uint32_t RunLength(const protocol::SubmitRecord& head);
  // The most replies that Submit makes of such a run. A caller with less room
  // in the session's sink leaves the run in the ring.
  static uint32_t RepliesMax(const protocol::SubmitRecord& head);

  // Takes in one run, copied out of the session's ring.
  // Errors  any: the session broke the protocol (the message says how); close
  //         it. Nothing of the run was done.
  absl::Status Submit(uint16_t session,
                      std::span<const protocol::SubmitRecord> run,
                      uint64_t now_ms);

  // Sessions to be told by the socket to look at their reply ring.
  std::vector<uint16_t> TakePokes();

  // Publications that readers may be waiting for: the words to wake, whatever
  // call it was that changed them. Take them after every batch of calls.
  std::vector<const std::atomic<uint32_t>*> TakeWakes();

  // Sessions whose publications were given up because they made no progress.
  std::vector<StallReport> TakeStalls();

  // A session's number in PublicationRecord::writers, and back.
  // Errors  kNotFound  no such session now
  absl::StatusOr<uint8_t> ProgressFileOf(uint16_t session) const;
  absl::StatusOr<uint16_t> SessionOfProgressFile(uint8_t file) const;

  // --- time ---

  // Sweeps touches, frees quarantined blocks that nobody holds any more, ends
  // leases, abandoned publications and those whose writers stand still, tops up
  // grants. Call it every 50 ms or
  // so, and before anything that should see fresh recency.
  void Tick(uint64_t now_ms);

  // --- operators ---

  // Bumps the content epoch; every visible block leaves the index, and no
  // publication under way becomes visible. Returns the blocks that left.
  uint32_t Clear();

  // Evicts ready blocks whose key's hex digits begin with `prefix_hex`, at
  // most `limit`; with an empty prefix the coldest leaves.
  EvictCounts Evict(absl::string_view prefix_hex, uint32_t limit,
                    uint64_t now_ms);

  // At most `limit` visible blocks by key prefix; `more` says whether there
  // are others.
  std::vector<BlockDescription> Describe(absl::string_view prefix_hex,
                                         uint32_t limit, bool* more) const;

  // --- tickets ---

  // Pins the blocks of the request until its deadline or `consumers` calls of
  // ReleaseLease. Tickets together hold at most half of the namespace's blocks
  // and name as many keys as it has blocks.
  // Errors  kNotFound           the first key that is not ready, by name,
  // unless
  //                             `in_flight`; no such handle
  //         kInvalidArgument    a key twice; no such group; a wrong tail or
  //                             hand-over size
  //         kResourceExhausted  kTicketsPerNamespaceMax, or one of the above
  absl::StatusOr<uint64_t> HoldLease(const LeaseRequest& request);
  // Appends keys, ready or not as it was for the first ones, to a lease that
  // the session minted. Nothing follows a tail.
  // Errors  as HoldLease; kPermissionDenied  another session's
  absl::Status ExtendLease(uint64_t lease, uint16_t session,
                           std::span<const BlockKey> keys,
                           uint32_t tail_tokens);
  // nullptr when it ended.
  const Lease* FindLease(uint64_t lease) const;
  // The publication that still brings blocks of the lease; generation 0: none.
  protocol::PublicationRef Follow(const Lease& lease) const;
  // Its hand-over data as far as they are known, perhaps still being written.
  std::string HandOverOf(const Lease& lease) const;
  // Errors  kNotFound
  absl::Status ReleaseLease(uint64_t lease);

  // --- looking inside ---

  const protocol::Geometry& geometry() const { return config_.geometry; }
  uint64_t content_epoch() const;
  NamespaceCounters counters() const;
  GroupCounts counts(uint32_t group) const { return blocks_.counts(group); }
  uint32_t session_count() const;
  uint32_t lease_count() const;
  uint32_t publication_count() const {
    return static_cast<uint32_t>(publications_.size());
  }
  // Grants, open publications and pins of one session.
  struct SessionCounts {
    uint32_t granted = 0;
    uint32_t publications = 0;
    uint32_t pinned_blocks = 0;
    uint64_t matches = 0;
    uint64_t hit_blocks = 0;
  };
  SessionCounts session_counts(uint16_t session) const;
  // Bytes kept for each block beside the block itself, shared and private,
  // without the sessions' pin cells.
  uint32_t overhead_bytes_per_block() const;

  // Checks every invariant the core knows, at the price of a full scan.
  // Returns the first violation, for tests and simulations.
  absl::Status CheckInvariants() const;

 private:
  // One layer group: what fills and empties it.
  struct Group {
    uint64_t all_slices = 0;
    uint32_t grant_target = 0;   // blocks a session holds ahead of use
    uint32_t in_flight_max = 0;  // blocks a session writes at once
    EvictionQueue evictable;
    // Nothing could be evicted a moment ago: until then, hardly look again.
    uint64_t dry_until_ms = 0;
    // A begin found no block: idle sessions' grants are to be asked for.
    bool wants_recall = false;
  };
  struct Handle {
    Publication* publication = nullptr;
    uint64_t slice_set = 0;
    uint32_t begun = 0;        // positions this session has begun
    std::vector<bool> owned;   // its slices of the position are yet to come
    uint32_t owned_count = 0;  // of them
    bool standby = false;
    bool overlaps = false;  // another open handle writes slices of its
    // Its progress record; kNoRecord: readers cannot follow it.
    uint32_t record = kNoRecord;
    // When it was last seen to get on, and how far it was then.
    uint32_t stall_ms = 0;
    uint64_t moved_ms = 0;
    uint64_t progress_word = 0;
  };
  static constexpr uint32_t kNoRecord = 0xffff'ffff;
  struct GroupGrants {
    absl::flat_hash_set<uint32_t> blocks;
    uint32_t in_flight = 0;
    bool recalled = false;  // given back: no more before it begins again
  };
  struct Session {
    bool may_publish = false;
    bool revoked = false;
    SessionMemory memory;
    ReplySink* sink = nullptr;
    std::map<uint32_t, Handle> handles;
    std::vector<GroupGrants> grants;  // by group; empty before the first open
    uint32_t entries = 0;
    uint64_t touches_swept = 0;
    ProgressView progress;
    uint8_t progress_file = 0;
    std::deque<uint8_t> free_records;
  };
  // The slices of a group that a handle's session writes. A group with one
  // slice (MLA) is written whole by whoever begins it.
  static uint64_t SlicesOf(const Group& group, const Handle& handle) {
    return group.all_slices == 1 ? 1 : handle.slice_set & group.all_slices;
  }

  // submit.cc
  absl::Status Open(Session& session, const protocol::SubmitRecord& record,
                    uint64_t now_ms);
  absl::Status EndRange(uint16_t id, Session& session,
                        const protocol::SubmitRecord& record, uint64_t now_ms);
  // The session's slices of a position are committed, or given up.
  protocol::PublishAnswer EndPosition(Publication& publication,
                                      PublicationEntry& entry, uint64_t slices,
                                      bool commit, uint64_t now_ms);
  absl::Status GiveBack(uint16_t id, Session& session,
                        const protocol::SubmitRecord& record);
  absl::Status Close(uint16_t id, Session& session,
                     const protocol::SubmitRecord& record, uint64_t now_ms);

  // begin.cc
  // Gives the handle a progress record and makes it known to readers.
  bool TakeRecord(Session& session, const Publication& publication,
                  Handle* handle);
  absl::Status Begin(uint16_t id, Session& session,
                     std::span<const protocol::SubmitRecord> run,
                     uint64_t now_ms);
  absl::Status CheckOffers(uint16_t id, Session& session, uint32_t group,
                           std::span<const protocol::SubmitRecord> blocks);
  // One key that its publication has not seen yet.
  struct NewKey {
    uint16_t session = 0;
    uint32_t group = 0;
    BlockKey key;
    BlockKey parent;
    uint32_t offered = protocol::kNoBlock;
    uint32_t valid_tokens = 0;
    uint64_t slices = 0;
    bool standby = false;
    bool followable = false;  // PublicationEntry's
    uint64_t now_ms = 0;
  };
  protocol::PublishAnswer BeginNew(Session& session, Publication& publication,
                                   const NewKey& key, uint32_t* block);
  // Gives `entry` a block of its own to be written; false: there is none.
  bool TakeBlock(Session& session, PublicationEntry* entry, const NewKey& key);
  // Makes it visible as pending; false, and the block went back: no place.
  bool Enter(Session& session, const Publication& publication,
             const NewKey& key, PublicationEntry* entry);
  protocol::PublishAnswer Join(PublicationEntry& entry, const Handle& handle,
                               uint32_t group, const BlockKey& key,
                               uint64_t slices, uint32_t* block);
  uint32_t InsertPending(const BlockKey& key, uint32_t block, uint64_t aux,
                         uint64_t now_ms);

  // publications.cc
  void CommitSlices(Publication& publication, PublicationEntry& entry,
                    uint64_t slices, uint64_t now_ms);
  void ReleaseSlices(Publication& publication, PublicationEntry& entry,
                     uint64_t slices, uint64_t now_ms);
  void MakeReady(Publication& publication, PublicationEntry& entry,
                 uint64_t now_ms);
  // kWriting -> kAborted, or the standby of the key takes its place.
  void AbortEntry(Publication& publication, PublicationEntry& entry,
                  uint64_t now_ms);
  // Ends an entry that is being written, standby or not.
  void GiveUp(Publication& publication, PublicationEntry& entry,
              uint64_t now_ms);
  // Gives the block of an aborted or superseded entry back once every writer
  // has ended it.
  void SettleAborted(PublicationEntry& entry);
  // Readers of the publication may have something to see.
  void Tell(const Publication& publication);
  void CloseHandle(Session& session, Handle& handle, bool died,
                   uint64_t now_ms);
  // The writer of these slices died.
  void LoseSlices(Publication& publication, uint64_t slices, uint64_t now_ms);
  void Linger(Publication* publication, uint64_t now_ms);
  void StopLingering(Publication* publication);
  void End(Publication* publication, uint64_t now_ms);
  void ExpirePublications(uint64_t now_ms);
  // One entry less of the publication is being written.
  void FinishEntry(Publication& publication);
  // Ends publications that nobody has open any more and of which nothing is
  // left to come: who follows them is not to wait until they have lingered.
  void EndFinished(uint64_t now_ms);
  void FinishInFlight(const PublicationEntry& entry);
  // Slices of the group that nobody will write any more.
  uint64_t LostSlices(const Publication& publication, uint32_t group) const {
    const uint64_t all = groups_[group].all_slices;
    // A group with one slice is written by any of the writers.
    return all == 1 ? 0 : publication.lost_slices & all;
  }
  // What the entry's slot says of its publication.
  static uint64_t AuxOf(const Publication& publication,
                        const PublicationEntry& entry, uint32_t position) {
    protocol::PublicationRef ref = publication.ref;
    ref.position = position;
    return entry.followable ? protocol::PackPublicationRef(ref) : 0;
  }

  // standby.cc
  // Whether a key that stands in `slot` as pending may be written once more.
  bool MayStandBy(const Publication& publication, const NewKey& key,
                  uint32_t slot) const;
  void AddStandby(const Publication& publication, const BlockKey& key,
                  uint32_t position);
  void RemoveStandby(const Publication& publication,
                     const PublicationEntry& entry);
  // The key has left the index: the oldest standby takes its place.
  void PromoteStandby(const BlockKey& key, const BlockKey& parent,
                      uint64_t now_ms);
  // The key has become ready: its standbys are for nothing.
  void SupersedeStandbys(const BlockKey& key);
  // kStandby -> kAborted.
  void AbortStandby(Publication& publication, PublicationEntry& entry);

  // stall.cc
  // Takes what a writer's progress has passed for committed.
  void AdoptProgress(Session& session, Handle& handle, uint64_t now_ms);
  // Returns how many blocks it gave up.
  uint32_t EndStalled(Session& session, Handle& handle, uint64_t now_ms);
  void ExpireStalled(uint64_t now_ms);
  // Looks whether the handle's writer got on. Returns how many blocks of it
  // were given up.
  uint32_t CheckStalled(Session& session, Handle& handle, uint64_t now_ms);
  // The handle's writer got on: its publication is not stalled (any more).
  void Moved(Handle& handle, uint64_t now_ms);
  void SetStalled(Publication& publication, bool stalled);
  void KeepHandOver(const Session& session, const Handle& handle);

  // leases.cc
  absl::Status CheckLease(uint32_t group, uint32_t tail_tokens,
                          size_t keys_before, size_t keys_more) const;
  // Sorts a ticket's further keys into blocks that are ready and keys that are
  // not.
  absl::Status SortLeaseKeys(const Lease& lease, std::span<const BlockKey> keys,
                             std::vector<uint32_t>* blocks,
                             std::vector<BlockKey>* wanted) const;

  // space.cc
  uint32_t TakeFree(uint32_t group, uint16_t owner, uint64_t now_ms);
  void MakeRoom(uint32_t group, uint32_t want, uint64_t now_ms);
  EvictCounts EvictBlocks(std::span<const uint32_t> victims, uint64_t now_ms);
  void RecallWanted();
  void Recall(uint32_t group);
  void TopUp(uint16_t id, Session& session, uint64_t now_ms);
  void SweepTouches(Session& session, uint64_t now_ms);
  void SweepTouches(uint64_t now_ms);
  void SweepQuarantine();
  void LinkParent(uint32_t block, const BlockKey& parent);
  void UnlinkParent(uint32_t block);

  static void AddClientCounters(const Session& session,
                                NamespaceCounters* counters);
  bool OwnsLive(uint32_t block, uint32_t generation) const {
    return blocks_.generation(block) == generation &&
           blocks_.meta(block).slot != kNoSlot;
  }

  const NamespaceConfig config_;
  protocol::IndexHeader* const header_;
  BlockTable blocks_;
  IndexWriter index_;
  PublicationDirectory directory_;
  LeaseTable leases_;
  Retirer retirer_;
  std::vector<Group> groups_;
  // Ordered maps: what iterates over them must not depend on a hash seed.
  std::map<uint16_t, Session> sessions_;
  std::map<PublicationIdentity, std::unique_ptr<Publication>> publications_;
  // Standby positions by key, oldest first.
  struct StandbyPlace {
    PublicationIdentity identity;
    uint32_t position = 0;
  };
  absl::flat_hash_map<BlockKey, std::deque<StandbyPlace>> standbys_;
  // Sessions by their progress files' numbers, and the numbers not in use.
  std::map<uint8_t, uint16_t> progress_files_;
  std::deque<uint8_t> free_progress_files_;
  // Those that nobody has open and whose slices are still missing, by when they
  // end, and how many entries they keep.
  std::set<std::pair<uint64_t, PublicationIdentity>> lingering_;
  uint32_t lingering_entries_ = 0;
  std::vector<PublicationIdentity> finished_;  // EndFinished looks at them
  // Out of the index, but pinned when it left.
  std::vector<uint32_t> held_quarantined_;
  size_t quarantine_cursor_ = 0;
  uint64_t touches_swept_ms_ = 0;
  uint64_t ticked_ms_ = 0;  // the last Tick, for calls that come without a time
  std::vector<uint16_t> pokes_;
  std::vector<StallReport> stalls_;
  NamespaceCounters counters_;  // of sessions gone, and of our own events
  // Scratch of MakeRoom and EvictBlocks.
  std::vector<uint32_t> victims_, retired_, held_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_NAMESPACE_CORE_H_
