#ifndef KVFERRY_PROTOCOL_SHM_LAYOUT_H_
#define KVFERRY_PROTOCOL_SHM_LAYOUT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "protocol/limits.h"

// The only description of shared bytes (protocol/README.md has the pictures).
//
// Files of a namespace and their one writer:
//   index      IndexHeader, Bucket[bucket_count],
//              PublicationRecord[kPublicationSlots]          daemon
//   state      StateHeader, BlockStateRecord[block_capacity] daemon
//   segment.N  blocks                                       publishers
// and a GPU pool, in a device's memory: blocks               publishers, worker
// Files of a session:
//   daemon     SessionDaemonHeader, ReplyRecord[kRingRecords]  daemon
//   client     SessionClientHeader, SubmitRecord[kRingRecords],
//              TouchRecord[kTouchRecords], PinCell[block_capacity]  client
//   progress   progress_layout.h                            client
//
// Every word that changes while somebody reads it is a lock-free atomic; plain
// members are written before `layout_version` is (release) and never again.
// A reader that finds a zero `layout_version` has arrived early.
namespace kvferry::protocol {

// Changes with any change of size, offset or meaning below.
inline constexpr uint32_t kLayoutVersion = 3;

static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(std::atomic<uint32_t>::is_always_lock_free);
static_assert(std::atomic<uint16_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<uint64_t>) == 8);
static_assert(sizeof(std::atomic<uint32_t>) == 4);
static_assert(sizeof(std::atomic<uint16_t>) == 2);

inline constexpr uint64_t kIndexMagic = 0x5845'444e'4946'564b;     // "KVFINDEX"
inline constexpr uint64_t kStateMagic = 0x5441'5453'4b46'564b;     // "KVFKSTAT"
inline constexpr uint64_t kDaemonMagic = 0x4e4f'4d45'4146'564b;    // "KVFAEMON"
inline constexpr uint64_t kClientMagic = 0x544e'4549'4c46'564b;    // "KVFLIENT"
inline constexpr uint64_t kProgressMagic = 0x5345'5247'5046'564b;  // "KVFPGRES"

inline constexpr uint64_t kHeaderBytes = 4096;
// In place of a block number: the daemon chooses one.
inline constexpr uint32_t kNoBlock = 0xffff'ffff;
// In a begin: the client saw the key in the index; record it as existing.
inline constexpr uint32_t kAlreadyThere = 0xffff'fffe;
static_assert(kAlreadyThere > kBlocksMax);

// --- Residence words -----------------------------------------------------
//
// Where a block's bytes lie, in one word, so that state, block and generation
// are always seen together:
//
//    63           32 31 30            3 2   0
//   | generation:32 |0 | block:28      |state|
//
// A generation counts the uses of a block and is bumped when the block is
// given to its next key; zero is never used.

enum class ResidenceState : uint8_t {
  kFree = 0,      // nothing here; the other bits are zero
  kPending = 1,   // a publication is writing it
  kReady = 2,     // every slice is committed: may be pinned and read
  kRetiring = 3,  // the daemon is deciding whether anybody has it pinned
};

struct Residence {
  ResidenceState state = ResidenceState::kFree;
  uint32_t block = 0;
  uint32_t generation = 0;

  friend bool operator==(const Residence&, const Residence&) = default;
};

constexpr uint64_t PackResidence(Residence r) {
  return uint64_t{r.generation} << 32 | uint64_t{r.block} << 3 |
         static_cast<uint64_t>(r.state);
}
constexpr Residence UnpackResidence(uint64_t word) {
  return {static_cast<ResidenceState>(word & 7),
          static_cast<uint32_t>(word >> 3 & kBlocksMax),
          static_cast<uint32_t>(word >> 32)};
}
static_assert(kBlocksMax < (1u << 28));

// --- index ---------------------------------------------------------------

inline constexpr uint32_t kSlotsPerBucket = 8;

// A bucket keeps its eight slots by column, so that a search reads one cache
// line and then one word of two others (docs/decisions/0003-bucket-columns.md
// has the measurement).
//
// INV-INDEX-1  A slot whose `host` and `gpu` are both kFree holds no key.
// INV-INDEX-2  A key stands in at most one slot of its two buckets, and never
//              moves while it is there.
//   Made by    core::IndexWriter::Insert and ::Erase, the only writers. Key
//              and aux words are stored before the residence (release).
//   Relied on  by sdk IndexView::Find: acquire the residence, then compare.
//   Tested     tests/unit/daemon/core/index_writer_test.cc, tests/sim
//
// INV-GPU-1  A GPU residence is ready only while its key has a block of host
//            memory, too, which holds the same bytes once its residence is
//            ready (`host` is kFree until then).
//   Made by    core::NamespaceCore: a begin in a GPU pool takes both blocks.
//   Relied on  by the drop of GPU residences, which loses nothing.
//   Tested     tests/sim, tests/unit/daemon/core/gpu_{room,pool}_test.cc
struct alignas(64) Bucket {
  std::atomic<uint64_t> key_lo[kSlotsPerBucket];
  std::atomic<uint64_t> key_hi[kSlotsPerBucket];
  std::atomic<uint64_t> host[kSlotsPerBucket];  // Residence
  std::atomic<uint64_t> gpu[kSlotsPerBucket];   // Residence
  std::atomic<uint64_t> aux[kSlotsPerBucket];   // PublicationRef
};
static_assert(sizeof(Bucket) == 320);
static_assert(offsetof(Bucket, key_hi) == 64);
static_assert(offsetof(Bucket, host) == 128);
static_assert(offsetof(Bucket, gpu) == 192);
static_assert(offsetof(Bucket, aux) == 256);

// Which publication writes (or wrote) the block of a slot, and where in it:
//
//    63           32 31       12 11     0
//   | generation:32 | position:20| slot:12|
//
// Zero: no publication that can be followed. Generations count the namespace's
// publications, skip zero, and are shared by all slots, so that one is not met
// again before four thousand million others.
struct PublicationRef {
  uint32_t generation = 0;
  uint32_t position = 0;
  uint32_t slot = 0;

  bool followable() const { return generation != 0; }
  friend bool operator==(const PublicationRef&,
                         const PublicationRef&) = default;
};
inline constexpr uint32_t kPublicationSlots = 4096;
static_assert(kPublicationSlots == 1u << 12, "slot is 12 bits wide");
static_assert(kBlocksPerPublicationMax < 1u << 20, "position is 20 bits wide");
constexpr uint64_t PackPublicationRef(PublicationRef r) {
  return uint64_t{r.generation} << 32 | uint64_t{r.position} << 12 | r.slot;
}
constexpr PublicationRef UnpackPublicationRef(uint64_t word) {
  return {static_cast<uint32_t>(word >> 32),
          static_cast<uint32_t>(word >> 12 & 0xf'ffff),
          static_cast<uint32_t>(word & (kPublicationSlots - 1))};
}

// The two buckets of a key. Keys are uniform (half a SHA-256), so their own
// bits choose; multiply-shift lets `bucket_count` be any number.
struct BucketPair {
  uint32_t first;
  uint32_t second;
};
constexpr BucketPair BucketsOf(uint64_t key_lo, uint64_t key_hi,
                               uint32_t bucket_count) {
  const auto first = static_cast<uint32_t>((key_lo >> 32) * bucket_count >> 32);
  auto second = static_cast<uint32_t>((key_hi >> 32) * bucket_count >> 32);
  if (second == first) second = first + 1 == bucket_count ? 0 : first + 1;
  return {first, second};
}

// Load at most 0.6. Filling an index with two choices of eight slots never
// overflows at 0.7, but a cache churns: then 19 inserts in 10,000 do at 0.7 and
// 6 in a million at 0.6 (docs/decisions/0004-index-load.md).
constexpr uint32_t BucketCountFor(uint32_t block_capacity) {
  const uint64_t slots = (uint64_t{block_capacity} * 10 + 5) / 6;
  const uint64_t buckets = (slots + kSlotsPerBucket - 1) / kSlotsPerBucket;
  return static_cast<uint32_t>(buckets < 2 ? 2 : buckets);
}

// One layer group of the namespace. Block numbers are the namespace's: a
// group's are [first_block, first_block + block_count), and its segment k
// holds the next `blocks_per_segment` of them, `stride_bytes` apart.
struct GroupRecord {
  uint32_t block_tokens;
  uint32_t slice_count;
  uint64_t page_bytes;
  uint64_t stride_bytes;
  uint32_t first_block;
  uint32_t block_count;
  uint32_t blocks_per_segment;
  uint32_t hit_rule;  // HitRule
  uint32_t trailing_blocks;
  uint32_t layer_count;
  uint32_t kv_count;
  uint32_t head_count;
  uint32_t head_bytes;
  uint32_t reserved;
};
static_assert(sizeof(GroupRecord) == 64);

// Blocks of one group in one GPU's memory, stride_bytes apart from the start of
// one allocation of the worker process kvferry-gpu. Their numbers follow those
// of the host's blocks, so a block number says where its bytes lie, and pin
// cells and state records serve both.
//
// In messages and records a pool is named by its number: 0 is the host, p >= 1
// is IndexHeader::gpu_pools[p - 1].
struct GpuPoolRecord {
  uint8_t device_uuid[16];
  uint32_t group;
  uint32_t device;  // its number in the daemon's list
  uint32_t first_block;
  uint32_t block_count;
  // Counts the memories that the pool has had: odd while there is one, even
  // while there is none. Who copied out of a memory that it knows by an odd
  // number reads this again before it believes the bytes. Writer: daemon.
  std::atomic<uint32_t> incarnation;
  uint32_t reserved[7];
};
static_assert(sizeof(GpuPoolRecord) == 64);

struct IndexHeader {
  uint64_t magic;
  std::atomic<uint32_t> layout_version;  // stored last
  uint32_t group_count;
  uint64_t epoch;  // of the daemon that made this file
  uint64_t namespace_id;
  uint32_t block_capacity;
  uint32_t bucket_count;
  // Bumped by `clear`, before it returns. Writer: daemon.
  std::atomic<uint64_t> content_epoch;
  uint8_t fingerprint[32];
  uint8_t salt[32];
  // Of block_capacity, those whose bytes lie in host memory: [0, host_blocks).
  uint32_t host_blocks;
  uint32_t gpu_pool_count;
  uint8_t reserved0[104];
  GroupRecord groups[kGroupsMax];
  // Milliseconds since the daemon started, refreshed by each of its ticks:
  // what a touch is dated with, for the price of a load.
  alignas(64) std::atomic<uint32_t> coarse_now_ms;
  // 1 while the daemon sleeps in epoll and wants its doorbell rung. Daemon
  // stores it, fences, reads the rings; a client stores its ring's tail,
  // fences, reads this: one of the two sees the other.
  alignas(64) std::atomic<uint32_t> daemon_asleep;
  uint8_t reserved1[60];
  GpuPoolRecord gpu_pools[kGpuPoolsMax];
};
static_assert(offsetof(IndexHeader, content_epoch) == 40);
static_assert(offsetof(IndexHeader, groups) == 256 - 32);
static_assert(sizeof(IndexHeader) <= kHeaderBytes);

// --- publications --------------------------------------------------------
//
// What a reader must know to follow a publication while it is written: whether
// it is under way, and in whose progress files its writers tell how far they
// are. Written by the daemon, in the index file behind the buckets.

enum class PublicationPhase : uint8_t {
  kFree = 0,   // no publication
  kOpen = 1,   // being written, or waiting for a writer of other slices
  kEnded = 2,  // nothing of it will become ready any more
  // Its writers stand still: nothing is to be expected of it, unless one of
  // them goes on and begins more (then it is kOpen again).
  kStalled = 3,
};

// Where one slice's writer keeps its progress: {file:8 | record:8}.
inline constexpr uint16_t kNoWriter = 0xffff;
struct WriterRef {
  uint8_t file = 0;    // the session's number among the namespace's files
  uint8_t record = 0;  // < kProgressRecords
  friend bool operator==(const WriterRef&, const WriterRef&) = default;
};
constexpr uint16_t PackWriterRef(WriterRef r) {
  return static_cast<uint16_t>(r.file << 8 | r.record);
}
constexpr WriterRef UnpackWriterRef(uint16_t word) {
  return {static_cast<uint8_t>(word >> 8), static_cast<uint8_t>(word & 0xff)};
}

// A reader that has learned something from the writers' records reads
// `generation` again before it believes it.
struct alignas(64) PublicationRecord {
  // Of the publication that has the slot, stored last when one takes it; it
  // stays until the next one does.
  std::atomic<uint32_t> generation;
  std::atomic<uint32_t> phase;  // PublicationPhase
  // Bumped, and its waiters woken, whenever the daemon has done something to
  // the publication: begun, committed or aborted blocks, a writer that came or
  // went, its end. A futex word.
  std::atomic<uint32_t> changes;
  std::atomic<uint32_t> begun;       // positions begun by any writer
  std::atomic<uint32_t> started_ms;  // IndexHeader::coarse_now_ms at its open
  uint8_t reserved[44];
  // By slice; kNoWriter: none has come yet, or it is done and gone (what it
  // wrote is then ready in the index as soon as the other slices are).
  std::atomic<uint16_t> writers[kSlicesMax];
};
static_assert(sizeof(PublicationRecord) == 192);
static_assert(offsetof(PublicationRecord, writers) == 64);

constexpr uint64_t PublicationsOffset(uint32_t bucket_count) {
  return kHeaderBytes + uint64_t{bucket_count} * sizeof(Bucket);
}
constexpr uint64_t IndexFileBytes(uint32_t bucket_count) {
  return PublicationsOffset(bucket_count) +
         uint64_t{kPublicationSlots} * sizeof(PublicationRecord);
}

// --- state ---------------------------------------------------------------

// What the daemon knows of a block, written before it acts on it, so that the
// next daemon can tell what is safe to reuse (design section 10).
enum class BlockState : uint8_t {
  kAbsent = 0,  // its segment is not there (yet)
  kFree = 1,
  kGranted = 2,     // owner may write it, no key yet
  kPublishing = 3,  // begun; owner writes it
  kReady = 4,
  kInIo = 5,         // a worker reads or writes it (SSD, peer, GPU)
  kQuarantined = 6,  // out of the index, somebody may still read or write it
};

//    63           32 31      16 15    8 7   0
//   | generation:32 | owner:16 | 0     |state|
//
// `owner` is a session's number, kNoOwner for none.
struct BlockStateRecord {
  std::atomic<uint64_t> word;
  // {crc32c:32 | valid_tokens:32}; zero: no checksum taken, a full block.
  std::atomic<uint64_t> content;
};
static_assert(sizeof(BlockStateRecord) == 16);

inline constexpr uint16_t kNoOwner = 0xffff;

struct BlockStateWord {
  BlockState state = BlockState::kAbsent;
  uint16_t owner = kNoOwner;
  uint32_t generation = 0;
  friend bool operator==(const BlockStateWord&,
                         const BlockStateWord&) = default;
};
constexpr uint64_t PackBlockState(BlockStateWord s) {
  return uint64_t{s.generation} << 32 | uint64_t{s.owner} << 16 |
         static_cast<uint64_t>(s.state);
}
constexpr BlockStateWord UnpackBlockState(uint64_t word) {
  return {static_cast<BlockState>(word & 0xff),
          static_cast<uint16_t>(word >> 16 & 0xffff),
          static_cast<uint32_t>(word >> 32)};
}

struct StateHeader {
  uint64_t magic;
  std::atomic<uint32_t> layout_version;  // stored last
  uint32_t block_capacity;
  uint64_t epoch;
};
static_assert(sizeof(StateHeader) == 24);

constexpr uint64_t StateFileBytes(uint32_t block_capacity) {
  return kHeaderBytes + uint64_t{block_capacity} * sizeof(BlockStateRecord);
}

// --- rings ---------------------------------------------------------------
//
// Both rings are single-producer, single-consumer. Positions count records
// since the ring was made and are masked to index it. The producer writes
// records, then its tail (release); the consumer acquires the tail, copies,
// then stores its own position (release) in its own file.

enum class SubmitType : uint8_t {
  kOpen = 1,   // names a publication; `handle` is the session's word for it
  kBegin = 2,  // followed by `count` kBeginBlock records, one tail store
  kBeginBlock = 3,
  kCommit = 4,  // the session's slices of [first, first + count) are written
  kAbort = 5,   // they never will be; the session writes them no more
  kReturn = 6,  // gives granted blocks back
  kClose = 7,   // no more begins; what is neither committed nor aborted aborts
};

// Keys that another publication is writing are written once more, in blocks of
// this one's own, in case that the other fails.
inline constexpr uint32_t kOpenStandby = 1;

struct SubmitRecord {
  uint8_t type;  // SubmitType
  uint8_t group;
  // kBegin, kReturn: where the blocks lie, or shall lie; see GpuPoolRecord.
  uint8_t pool;
  uint8_t reserved0;
  uint32_t handle;
  union {
    struct {
      uint64_t engine_instance;
      uint64_t publication;
      uint64_t slice_set;  // bit s: this session writes slice s
      // The daemon gives the publication up when blocks are begun and this
      // handle's progress has not moved for so long; 0: the default.
      uint32_t stall_ms;
      uint32_t flags;  // kOpenStandby
    } open;
    struct {
      uint32_t first;  // position in the publication of the first block
      uint32_t count;
      uint64_t parent_lo;  // key before the first block; zero: none
      uint64_t parent_hi;
    } begin;
    struct {
      uint64_t key_lo;
      uint64_t key_hi;
      uint32_t block;         // a granted block, or kNoBlock: daemon chooses
      uint32_t valid_tokens;  // 0: full
    } begin_block;
    struct {
      uint32_t first;
      uint32_t count;
    } range;  // kCommit, kAbort; count <= kBlocksPerRunMax
    struct {
      uint32_t count;  // 1..12
      uint32_t blocks[12];
    } give_back;  // kReturn
    uint8_t bytes[56];
  };
};
static_assert(sizeof(SubmitRecord) == 64);
static_assert(offsetof(SubmitRecord, open) == 8);

enum class ReplyType : uint8_t {
  kAnswer = 1,        // `answer` for [first, first + count)
  kAnswerBlocks = 2,  // kYours for count <= 12 positions, in blocks[]
  kGrant = 3,         // count <= 12 blocks now yours to begin with
  kRecall = 4,        // give `count` granted blocks of `group` back
  // Answers kOpen: the publication has slot `first` and generation `count`,
  // this handle writes progress record blocks[0]. Without a slot or a record
  // left, generation 0: it cannot be followed, only waited for.
  kOpened = 5,
};

enum class PublishAnswer : uint8_t {
  kNone = 0,
  // To a begin:
  kYours = 1,     // write it; the offered block was taken
  kExists = 2,    // ready already; an offered block stays granted to you
  kInFlight = 3,  // another publication writes it, no standby; likewise
  kNoSpace = 4,   // nothing can be evicted or its buckets are full; likewise
  // To a commit or abort:
  kCommitted = 5,  // your slices count; ready once every slice does
  kVoid = 6,       // the block was aborted or cleared meanwhile
  // To a begin: another publication is writing the key. Write it, too; the
  // offered block was taken. Its commit is answered by kCommitted, or by
  // kExists when the other was faster: then the block went back.
  kStandby = 7,
};

struct ReplyRecord {
  uint8_t type;  // ReplyType
  uint8_t group;
  uint8_t answer;  // PublishAnswer
  uint8_t pool;    // kGrant, kRecall; see GpuPoolRecord
  uint32_t handle;
  uint32_t first;
  uint32_t count;
  uint32_t blocks[12];
};
static_assert(sizeof(ReplyRecord) == 64);
static_assert(offsetof(ReplyRecord, blocks) == 16);
inline constexpr uint32_t kBlocksPerReply = 12;

// --- session: daemon's half ----------------------------------------------

struct SessionDaemonHeader {
  uint64_t magic;
  std::atomic<uint32_t> layout_version;  // stored last
  uint32_t session;
  uint64_t epoch;
  // Non-zero: what this session has pinned or been granted is void. A reader
  // re-checks it after its copy. Writer: daemon, once.
  std::atomic<uint32_t> revoked;
  // Replies made, as a futex word: low 32 bits of reply_tail. A client waits
  // on it (read-only mapping); the daemon wakes when the client's
  // `reply_waiters` is non-zero.
  alignas(64) std::atomic<uint32_t> reply_futex;
  std::atomic<uint64_t> reply_tail;
  alignas(64) std::atomic<uint64_t> submit_consumed;
  uint8_t reserved[56];
};
static_assert(offsetof(SessionDaemonHeader, reply_futex) == 64);
static_assert(offsetof(SessionDaemonHeader, reply_tail) == 72);
static_assert(offsetof(SessionDaemonHeader, submit_consumed) == 128);
static_assert(sizeof(SessionDaemonHeader) <= kHeaderBytes);

inline constexpr uint64_t kReplyRingOffset = kHeaderBytes;
inline constexpr uint64_t kSessionDaemonFileBytes =
    kReplyRingOffset + kRingRecords * sizeof(ReplyRecord);

// --- session: client's half ----------------------------------------------

// What a match leaves for the daemon's statistics, recency and `explain`.
// Lossy: two threads may write one record; the daemon believes nothing of it
// that it cannot check.
struct TouchRecord {
  std::atomic<uint64_t> deepest_hit;    // residence word; 0: a miss
  std::atomic<uint64_t> missed_key_lo;  // first key that missed; 0: none
  std::atomic<uint64_t> missed_key_hi;
  std::atomic<uint32_t> hit_blocks;
  std::atomic<uint32_t> time_ms;  // IndexHeader::coarse_now_ms
};
static_assert(sizeof(TouchRecord) == 32);

struct SessionClientHeader {
  uint64_t magic;
  std::atomic<uint32_t> layout_version;  // stored last, by the daemon
  uint32_t session;
  uint64_t epoch;
  alignas(64) std::atomic<uint64_t> submit_tail;
  alignas(64) std::atomic<uint64_t> reply_consumed;
  // Threads that sleep on reply_futex (or are about to).
  std::atomic<uint32_t> reply_waiters;
  alignas(64) std::atomic<uint64_t> touch_tail;
  // Plain statistics of this client; relaxed, lossy under threads.
  std::atomic<uint64_t> match_calls;
  std::atomic<uint64_t> matched_blocks;
  std::atomic<uint64_t> missed_calls;   // calls that hit nothing
  std::atomic<uint64_t> retired_races;  // pins undone: the block was retiring
  uint8_t reserved[24];
};
static_assert(offsetof(SessionClientHeader, submit_tail) == 64);
static_assert(offsetof(SessionClientHeader, reply_consumed) == 128);
static_assert(offsetof(SessionClientHeader, touch_tail) == 192);
static_assert(sizeof(SessionClientHeader) == 256);

// INV-PIN-1  A block is not rewritten while any session's cell for it is
//            non-zero.
//   Made by    sdk PinTable: raise the cell, full fence, re-read the slot.
//   Kept by    core::Retirer: store kRetiring, full fence, read every cell.
//   Ends       the holder lowers its cell, or the daemon removes the session
//              after its process is gone.
//   Tested     tests/model/pin_retire.pml, tests/litmus, tests/sim
using PinCell = std::atomic<uint16_t>;

inline constexpr uint64_t kSubmitRingOffset = kHeaderBytes;
inline constexpr uint64_t kTouchRingOffset =
    kSubmitRingOffset + kRingRecords * sizeof(SubmitRecord);
inline constexpr uint64_t kPinsOffset =
    kTouchRingOffset + kTouchRecords * sizeof(TouchRecord);
constexpr uint64_t SessionClientFileBytes(uint32_t block_capacity) {
  const uint64_t bytes =
      kPinsOffset + uint64_t{block_capacity} * sizeof(PinCell);
  return (bytes + kHeaderBytes - 1) / kHeaderBytes * kHeaderBytes;
}

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_SHM_LAYOUT_H_
