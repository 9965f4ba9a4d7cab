#ifndef KVFERRY_DAEMON_CORE_NAMESPACE_CORE_H_
#define KVFERRY_DAEMON_CORE_NAMESPACE_CORE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
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
#include "daemon/core/copy_queue.h"
#include "daemon/core/eviction_queue.h"
#include "daemon/core/gpu_pool.h"
#include "daemon/core/index_writer.h"
#include "daemon/core/lease_table.h"
#include "daemon/core/namespace_types.h"
#include "daemon/core/progress_view.h"
#include "daemon/core/promotion_budget.h"
#include "daemon/core/publication.h"
#include "daemon/core/publication_directory.h"
#include "daemon/core/resting_blocks.h"
#include "daemon/core/retirer.h"
#include "daemon/core/session.h"
#include "kvferry/key.h"
#include "protocol/geometry.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

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
// Every key has a block in host memory, which is its place in the prefix tree
// and what leases and eviction go by. It may have one in a GPU pool, too
// (INV-GPU-1). The two of a key, and what its slot says of them:
//
//                                 host                    gpu
//   published to host memory      publishing, pending     -
//   published to a pool           publishing, -           publishing, pending
//   ready there, write-behind     in io, -                ready, ready
//   clean                         ready, ready            ready, ready
//   host only                     ready, ready            -
//   being promoted                ready, ready            in io, -
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

  // --- GPU pools (gpu_pools.cc) ---
  //
  // Pools are named by their numbers in messages: 1 is the geometry's first.

  // There is memory: the record's incarnation becomes odd, its blocks free.
  // REQUIRES  the pool is down
  void PoolUp(uint32_t pool, uint64_t now_ms);
  // Its worker is gone, and the memory with it: the incarnation becomes even
  // first, then every residence there leaves the index. Keys that host memory
  // does not have are lost, what was being published there is aborted, and
  // blocks of the host that a copy was running into rest kGpuRestMs. Orders of
  // the pool are forgotten. Nothing, if it is down.
  void PoolDown(uint32_t pool, uint64_t now_ms);

  // Appends at most `room` orders for pools of `device` that were not handed
  // out yet.
  void TakeCopies(uint32_t device, size_t room, std::vector<CopyOrder>* out);
  // Orders that TakeCopies would hand out.
  size_t copies_waiting(uint32_t device) const;
  // What became of an order. Unknown ids (of a pool that went down) are
  // ignored.
  void CopyDone(uint64_t id, bool ok, uint64_t now_ms);

  // The session's process uses the device from now on: it may publish into its
  // pools, what it hits is promoted to there, and when it dies, what it may
  // have been writing rests kGpuRestMs.
  // Errors  kNotFound       no such session
  //         kAlreadyExists  it has opened another device
  absl::Status SetSessionGpu(uint16_t session, uint32_t device);

  GpuPoolCounts gpu_counts(uint32_t pool) const;

  // --- looking inside ---

  const protocol::Geometry& geometry() const { return config_.geometry; }
  uint64_t content_epoch() const;
  NamespaceCounters counters() const;
  GroupCounts counts(uint32_t group) const;
  uint32_t session_count() const;
  uint32_t lease_count() const;
  uint32_t publication_count() const {
    return static_cast<uint32_t>(publications_.size());
  }
  using SessionCounts = core::SessionCounts;
  SessionCounts session_counts(uint16_t session) const;
  // Bytes kept for each block beside the block itself, shared and private,
  // without the sessions' pin cells.
  uint32_t overhead_bytes_per_block() const;

  // Checks every invariant the core knows, at the price of a full scan.
  // Returns the first violation, for tests and simulations.
  absl::Status CheckInvariants() const;

 private:
  struct Group {
    uint64_t all_slices = 0;
  };
  // The blocks of a group in host memory, or of a GPU pool (BlockTable): what
  // fills and empties them.
  struct Area {
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
  // Of one area.
  struct Grants {
    absl::flat_hash_set<uint32_t> blocks;
    // Of them, those of a memory that is gone: what their session wrote there
    // is not in the new one. They are good for nothing but to be given back.
    absl::flat_hash_set<uint32_t> stale;
    uint32_t in_flight = 0;
    bool recalled = false;  // given back: no more before it begins again
    bool wanted = false;    // it has begun blocks here
  };
  struct Session {
    bool may_publish = false;
    bool revoked = false;
    SessionMemory memory;
    ReplySink* sink = nullptr;
    std::map<uint32_t, Handle> handles;
    std::vector<Grants> grants;  // by area; empty before the first open
    std::optional<uint32_t> gpu_device;
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
  // Whether the session may name the pool for blocks of the group.
  absl::Status CheckPool(const char* verb, const Session& session,
                         uint32_t group, uint32_t pool) const;
  absl::Status CheckOffers(uint16_t id, Session& session, uint32_t area,
                           std::span<const protocol::SubmitRecord> blocks);
  // One key that its publication has not seen yet.
  struct NewKey {
    uint16_t session = 0;
    uint32_t group = 0;
    uint32_t pool = 0;
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
  // Gives `entry` a block of its own to be written, and one of the host to go
  // with it if it is in a pool; false: there is none.
  bool TakeBlock(Session& session, PublicationEntry* entry, const NewKey& key);
  // kNoBlock: the key is published to host memory instead, if none is offered.
  uint32_t TakeGpuBlock(Session& session, const NewKey& key);
  // Makes it visible as pending; false, and the block went back: no place.
  bool Enter(const Publication& publication, const NewKey& key,
             PublicationEntry* entry);
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
  // Its block, and the one that goes with it, are no key's any more.
  void QuarantineEntry(const PublicationEntry& entry);
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
  uint32_t TakeFree(uint32_t area, uint16_t owner, uint64_t now_ms);
  // Until so many blocks are free, as far as it goes. `colder_than_ms`: only
  // of those that were last used before.
  void MakeRoom(uint32_t area, uint32_t want, uint64_t now_ms,
                std::optional<uint32_t> colder_than_ms = std::nullopt);
  // MakeRoom's batch for one block.
  uint32_t BatchOf(uint32_t area) const;
  EvictCounts EvictBlocks(std::span<const uint32_t> victims, uint64_t now_ms);
  void SweepTouches(Session& session, uint64_t now_ms);
  void SweepTouches(uint64_t now_ms);
  // The block's use as of now, and its twin's.
  void Touch(uint32_t block, uint64_t now_ms);
  void Offer(uint32_t block) {
    areas_[blocks_.area_of(block)].evictable.Offer(block);
  }

  // grants.cc
  void RecallWanted();
  // Asks idle sessions for their grants of the area.
  void Recall(uint32_t area);
  void Recall(uint16_t id, Session& session, uint32_t area);
  void TopUp(uint16_t id, Session& session, uint64_t now_ms);
  void TopUpArea(uint16_t id, Session& session, uint32_t area, uint64_t now_ms);

  // prefix_tree.cc: one of the host's blocks, and one of each pool's
  void LinkParent(uint32_t block, const BlockKey& parent);
  void UnlinkParent(uint32_t block);
  // The same for the twin, too.
  void LinkParents(uint32_t block, const BlockKey& parent);
  void UnlinkParents(uint32_t block);
  // The key's place; of the twin, too.
  void SetSlot(uint32_t block, uint32_t slot, uint64_t now_ms);
  // Takes a key out of the index, whoever reads it. Its blocks are appended to
  // `left`: once a fence has come after all of them, LetGo.
  void TakeOut(uint32_t host_block, std::vector<uint32_t>* left);
  // The host block of the key in a slot.
  uint32_t HostBlockAt(uint32_t slot) const;
  bool PendingAt(uint32_t slot) const;

  // quarantine.cc
  // Frees a block that has left the index, once nobody holds it any more.
  void LetGo(uint32_t block);
  // A device may be writing the block, and who told it to is gone.
  void Rest(uint32_t block, uint64_t now_ms);
  void SweepQuarantine();
  bool MayFree(uint32_t block) const {
    return !retirer_.Held(block) && !resting_.Rests(block);
  }

  // gpu_pools.cc
  GpuPool& PoolOf(uint32_t gpu_block) {
    return pools_[blocks_.area_of(gpu_block) - groups_.size()];
  }
  uint32_t AreaOf(uint32_t group, uint32_t pool) const {
    return pool == 0 ? group : pools_[pool - 1].area;
  }
  uint32_t PoolNumberOf(uint32_t area) const {
    return area < groups_.size() ? 0 : pools_[area - groups_.size()].number;
  }
  void MakePools();
  void AbortPublishing(const GpuPool& pool, uint64_t now_ms);
  void ForgetResidences(GpuPool& pool, std::vector<uint32_t>* left);
  void ForgetCopies(const GpuPool& pool, uint64_t now_ms);
  void VoidGrants(const GpuPool& pool);
  std::vector<uint32_t> UpPoolsOf(uint32_t device) const;

  // write_behind.cc
  void OrderCopy(uint32_t gpu_block, uint32_t host_block, bool to_host,
                 uint32_t failures = 0);
  void EndCopying(const CopyOrder& order);
  void EndWriteBehind(const CopyQueue::Entry& entry, bool ok);
  void MakeHostReady(uint32_t host_block);
  EvictCounts DropBlocks(std::span<const uint32_t> victims, uint64_t now_ms);
  void KeepWatermark(const GpuPool& pool, uint64_t now_ms);

  // promotion.cc
  // A session has hit the host block, and is better off with one in its pool.
  void WishPromotion(const Session& session, uint32_t block);
  void StartPromotions(uint64_t now_ms);
  void PromoteChain(const GpuPool& pool, uint32_t block, uint64_t now_ms,
                    uint32_t* looks);
  bool PromoteBlock(const GpuPool& pool, uint32_t block,
                    uint32_t colder_than_ms, uint64_t now_ms);
  void EndPromotion(const CopyOrder& order, bool ok);
  void MakeGpuReady(uint32_t gpu_block);

  // invariants.cc
  absl::Status CheckStandbys(absl::flat_hash_set<uint32_t>* blocks) const;
  absl::Status CheckBlocks(
      const absl::flat_hash_set<uint32_t>& standby_blocks) const;
  absl::Status CheckTrees() const;
  absl::Status CheckPools() const;
  absl::Status CheckAreas() const;
  absl::Status CheckPublications(
      const absl::flat_hash_set<uint32_t>& standby_blocks) const;

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
  std::vector<Area> areas_;  // the groups', then the pools'
  std::vector<GpuPool> pools_;
  CopyQueue copies_;
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
  struct PromotionWish {
    uint32_t pool = 0;
    uint32_t block = 0;
    uint32_t generation = 0;
  };
  std::vector<PromotionWish> wishes_;            // of touches; the next Tick's
  std::map<uint32_t, PromotionBudget> budgets_;  // by device
  RestingBlocks resting_;
  // Out of the index, but held, or resting, when it left.
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
