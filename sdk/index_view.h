#ifndef KVFERRY_SDK_INDEX_VIEW_H_
#define KVFERRY_SDK_INDEX_VIEW_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "kvferry/key.h"
#include "protocol/shm_layout.h"
#include "sdk/gpu_pools.h"

namespace kvferry::sdk {

// Where the index keeps a key, and the residence word that was read there. The
// word's state is recorded as kReady also when it was kRetiring: it is what
// the slot has to say again under the pin (see IndexView::Recheck).
struct IndexHit {
  uint64_t word = 0;  // 0: the key is not there, or not ready
  uint64_t slot = 0;  // bucket * kSlotsPerBucket + slot

  bool found() const { return word != 0; }
  uint32_t block() const { return protocol::UnpackResidence(word).block; }
};

// The same of a block that may still be being written: a residence with its
// state, kReady (also for kRetiring) or kPending, and its aux word.
struct InFlightHit {
  uint64_t word = 0;  // 0: the key is not there
  uint64_t slot = 0;
  uint64_t aux = 0;  // PublicationRef
  // The daemon is deciding whether anybody has it pinned: who pinned it just
  // now has to read again (see IndexView::Recheck).
  bool retiring = false;

  bool found() const { return word != 0; }
  uint32_t block() const { return protocol::UnpackResidence(word).block; }
  bool ready() const {
    return protocol::UnpackResidence(word).state ==
           protocol::ResidenceState::kReady;
  }
};

// Both residences of a key that may still be being written. They are two hits,
// either of which may be taken, pinned and read again; nothing says that they
// were there at the same moment.
struct ResidenceHits {
  InFlightHit host;
  InFlightHit gpu;  // whatever pool its block is in
};

// The namespace's index as its readers see it: two buckets a key, each kept by
// column, so that most of a search is one cache line a bucket.
//
// A residence is in the host's column or in the GPUs', and its block number
// says in which: a hit is read again where it was found. What has no "Any" or
// "Gpu" in its name reads the host's alone.
//
// Only Recheck under a pin makes a hit certain. Find reads the three words of
// a slot one after the other while the daemon may be changing them; whatever
// it mixes up, Recheck finds out (INV-PIN-1).
//
// Cost     no system call, no store
// Threads  any number
class IndexView {
 public:
  enum class Verdict { kValid, kRetiring, kGone };

  IndexView() = default;
  explicit IndexView(const protocol::IndexHeader* header)
      : buckets_(reinterpret_cast<const protocol::Bucket*>(
            reinterpret_cast<const std::byte*>(header) +
            protocol::kHeaderBytes)),
        bucket_count_(header->bucket_count),
        host_blocks_(header->host_blocks) {}

  // Fetches the lines that ScanTags reads first.
  //
  // always_inline: gcc 12 takes a function that only prefetches for one without
  // effect, and removes the calls.
  [[gnu::always_inline]] void PrefetchTags(const BlockKey& key) const {
    const protocol::BucketPair pair = BucketsOf(key);
    __builtin_prefetch(buckets_[pair.first].key_lo);
    __builtin_prefetch(buckets_[pair.second].key_lo);
  }

  // Fetches every line that Find can read: for a lone key, whose misses have
  // nothing else to hide behind.
  [[gnu::always_inline]] void PrefetchAll(const BlockKey& key) const {
    const protocol::BucketPair pair = BucketsOf(key);
    for (const uint32_t index : {pair.first, pair.second}) {
      const protocol::Bucket& bucket = buckets_[index];
      __builtin_prefetch(bucket.key_lo);
      __builtin_prefetch(bucket.key_hi);
      __builtin_prefetch(bucket.host);
    }
  }

  // The first slot whose lower key word is that of `key`, and fetches its
  // other two lines. kNoSlot when there is none: the key is not here.
  uint64_t ScanTags(const BlockKey& key) const {
    const protocol::BucketPair pair = BucketsOf(key);
    const uint32_t mask = TagMask(pair, key.lo);
    if (mask == 0) return kNoSlot;
    const uint64_t location = LocationOf(pair, mask);
    const protocol::Bucket& bucket =
        buckets_[location / protocol::kSlotsPerBucket];
    const uint64_t slot = location % protocol::kSlotsPerBucket;
    __builtin_prefetch(&bucket.key_hi[slot]);
    __builtin_prefetch(&bucket.host[slot]);
    return location;
  }

  // Looks `key` up at the slot that ScanTags gave for it.
  IndexHit FindAt(const BlockKey& key, uint64_t slot) const {
    if (slot == kNoSlot) return {};
    const IndexHit hit = ReadSlot(key, slot);
    // Two keys with one lower word, or a slot that was refilled since: rare
    // enough to begin anew.
    return hit.found() ? hit : Find(key);
  }

  [[gnu::always_inline]] IndexHit Find(const BlockKey& key) const {
    const protocol::BucketPair pair = BucketsOf(key);
    uint32_t mask = TagMask(pair, key.lo);
    for (; mask != 0; mask &= mask - 1) {
      const IndexHit hit = ReadSlot(key, LocationOf(pair, mask));
      if (hit.found()) [[likely]]
        return hit;
    }
    return {};
  }

  // Whether the slot still says what `hit` recorded, with the full key.
  // REQUIRES  hit.block() was pinned, then PinFence() called
  [[gnu::always_inline]] Verdict Recheck(const BlockKey& key,
                                         const IndexHit& hit) const {
    return RecheckIn<&protocol::Bucket::host>(key, hit);
  }

  // The same of a hit in either column.
  Verdict RecheckAny(const BlockKey& key, const IndexHit& hit) const {
    return InGpu(hit.word) ? RecheckIn<&protocol::Bucket::gpu>(key, hit)
                           : RecheckIn<&protocol::Bucket::host>(key, hit);
  }

  // The residence of `key` that a match takes: of those that are ready, one in
  // a usable pool and the host's, in the order that `usable` says.
  IndexHit FindAny(const BlockKey& key, const GpuPools& pools,
                   const UsablePools& usable) const {
    const protocol::BucketPair pair = BucketsOf(key);
    uint32_t mask = TagMask(pair, key.lo);
    for (; mask != 0; mask &= mask - 1) {
      const IndexHit hit =
          ReadSlotAny(key, LocationOf(pair, mask), pools, usable);
      if (hit.found()) return hit;
    }
    return {};
  }
  // The same at the slot that ScanTags gave for it.
  IndexHit FindAnyAt(const BlockKey& key, uint64_t slot, const GpuPools& pools,
                     const UsablePools& usable) const {
    if (slot == kNoSlot) return {};
    const IndexHit hit = ReadSlotAny(key, slot, pools, usable);
    return hit.found() ? hit : FindAny(key, pools, usable);
  }

  // Whether `key` is ready now, for a caller that will not read it: its host
  // residence, or that and its GPU's.
  bool IsReady(const BlockKey& key) const {
    const IndexHit hit = Find(key);
    return hit.found() && Recheck(key, hit) == Verdict::kValid;
  }
  bool IsReadyAnywhere(const BlockKey& key) const {
    const ResidenceHits hits = FindResidences(key);
    return (hits.host.found() && hits.host.ready() && !hits.host.retiring) ||
           (hits.gpu.found() && hits.gpu.ready() && !hits.gpu.retiring);
  }

  // As Find, also for blocks that are being written. Its words belong together:
  // they were read between two equal reads of the residence.
  InFlightHit FindInFlight(const BlockKey& key) const {
    const protocol::BucketPair pair = BucketsOf(key);
    uint32_t mask = TagMask(pair, key.lo);
    for (; mask != 0; mask &= mask - 1) {
      const InFlightHit hit = ReadInFlight(key, LocationOf(pair, mask));
      if (hit.found()) return hit;
    }
    return {};
  }

  // What `slot` says of `key` now. A slot that changes under the read is read
  // again; one that does so time after time says nothing.
  InFlightHit ReadInFlight(const BlockKey& key, uint64_t slot) const {
    return ReadInFlightIn<&protocol::Bucket::host>(key, slot);
  }
  // The same of the column that `block` belongs to.
  InFlightHit ReadInFlight(const BlockKey& key, uint64_t slot,
                           uint32_t block) const {
    return block < host_blocks_
               ? ReadInFlightIn<&protocol::Bucket::host>(key, slot)
               : ReadInFlightIn<&protocol::Bucket::gpu>(key, slot);
  }
  // Both residences of a key.
  ResidenceHits FindResidences(const BlockKey& key) const {
    const protocol::BucketPair pair = BucketsOf(key);
    uint32_t mask = TagMask(pair, key.lo);
    for (; mask != 0; mask &= mask - 1) {
      const uint64_t slot = LocationOf(pair, mask);
      const ResidenceHits hits = {
          ReadInFlightIn<&protocol::Bucket::host>(key, slot),
          ReadInFlightIn<&protocol::Bucket::gpu>(key, slot)};
      if (hits.host.found() || hits.gpu.found()) return hits;
    }
    return {};
  }

  // The residence word of a slot alone: enough for a block that is pinned and
  // was found under its key then, since its number and generation belong to no
  // other key while the pin stands (INV-PIN-1).
  uint64_t HostWord(uint64_t slot) const {
    return buckets_[slot / protocol::kSlotsPerBucket]
        .host[slot % protocol::kSlotsPerBucket]
        .load(std::memory_order_acquire);
  }
  // The same of the column that `block` belongs to.
  uint64_t WordOf(uint64_t slot, uint32_t block) const {
    if (block < host_blocks_) return HostWord(slot);
    return buckets_[slot / protocol::kSlotsPerBucket]
        .gpu[slot % protocol::kSlotsPerBucket]
        .load(std::memory_order_acquire);
  }
  // always_inline: see PrefetchTags.
  [[gnu::always_inline]] void PrefetchHost(uint64_t slot) const {
    __builtin_prefetch(&buckets_[slot / protocol::kSlotsPerBucket]
                            .host[slot % protocol::kSlotsPerBucket]);
  }
  // Of the column that `block` belongs to.
  [[gnu::always_inline]] void PrefetchWord(uint64_t slot,
                                           uint32_t block) const {
    if (block < host_blocks_) {
      PrefetchHost(slot);
    } else {
      PrefetchGpu(slot);
    }
  }
  [[gnu::always_inline]] void PrefetchGpu(uint64_t slot) const {
    __builtin_prefetch(&buckets_[slot / protocol::kSlotsPerBucket]
                            .gpu[slot % protocol::kSlotsPerBucket]);
  }

  // Blocks below are in the host's column, others in the GPUs'.
  uint32_t host_blocks() const { return host_blocks_; }

  static constexpr uint64_t kNoSlot = ~uint64_t{0};
  static constexpr uint64_t kStateMask = 7;
  // Re-reads of a retiring slot: some 2 us, in which the daemon has read the
  // pins of its victims.
  static constexpr uint32_t kRetiringReads = 64;

 private:
  // The daemon changes a slot a few times in a block's life; a slot that does
  // so this often under one reader is being written by something broken.
  static constexpr uint32_t kTornReadsMax = 64;
  using Column =
      std::atomic<uint64_t> (protocol::Bucket::*)[protocol::kSlotsPerBucket];

  bool InGpu(uint64_t word) const {
    return protocol::UnpackResidence(word).block >= host_blocks_;
  }

  protocol::BucketPair BucketsOf(const BlockKey& key) const {
    return protocol::BucketsOf(key.lo, key.hi, bucket_count_);
  }

  // Bit s: slot s of the first bucket may have this lower key word; bit 8 + s:
  // of the second. Both are looked at in any case: which of them has the key is
  // a coin toss, and guessing it wrong costs more than eight comparisons.
  //
  // With SSE2 by the word's lower half only (the upper one chose the bucket),
  // which is 16 instructions for the 16 slots. These loads are no atomic
  // operations of C++; they are hints, which FindAt and Recheck take up by
  // atomic ones. ThreadSanitizer sees the portable form.
  uint32_t TagMask(const protocol::BucketPair& pair, uint64_t key_lo) const {
    const auto& first = buckets_[pair.first].key_lo;
    const auto& second = buckets_[pair.second].key_lo;
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
    const __m128i tag = _mm_set1_epi32(static_cast<int>(key_lo));
    return static_cast<uint32_t>(_mm_movemask_epi8(
        _mm_packs_epi16(CompareTags(first, tag), CompareTags(second, tag))));
#else
    uint32_t mask = 0;
    for (uint32_t slot = 0; slot < protocol::kSlotsPerBucket; ++slot) {
      const auto relaxed = std::memory_order_relaxed;
      mask |= uint32_t{first[slot].load(relaxed) == key_lo} << slot |
              uint32_t{second[slot].load(relaxed) == key_lo}
                  << (slot + protocol::kSlotsPerBucket);
    }
    return mask;
#endif
  }
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
  // Eight 16-bit lanes, all ones where the slot's tag is the one sought.
  static __m128i CompareTags(
      const std::atomic<uint64_t> (&words)[protocol::kSlotsPerBucket],
      __m128i tag) {
    static_assert(protocol::kSlotsPerBucket == 8);
    const auto* lines = reinterpret_cast<const __m128i*>(words);
    // Lanes 0 and 2 of each are the lower halves of two slots' words.
    const auto lower_halves = [lines, tag](int i) {
      const __m128i a = _mm_cmpeq_epi32(_mm_load_si128(lines + i), tag);
      const __m128i b = _mm_cmpeq_epi32(_mm_load_si128(lines + i + 1), tag);
      return _mm_castps_si128(_mm_shuffle_ps(
          _mm_castsi128_ps(a), _mm_castsi128_ps(b), _MM_SHUFFLE(2, 0, 2, 0)));
    };
    return _mm_packs_epi32(lower_halves(0), lower_halves(2));
  }
#endif
  // Where the lowest bit of a mask is.
  static uint64_t LocationOf(const protocol::BucketPair& pair, uint32_t mask) {
    const auto bit = static_cast<uint32_t>(__builtin_ctz(mask));
    const uint32_t bucket =
        bit < protocol::kSlotsPerBucket ? pair.first : pair.second;
    return uint64_t{bucket} * protocol::kSlotsPerBucket +
           bit % protocol::kSlotsPerBucket;
  }

  // The word as it reads while the block is ready; 0 when it is neither that
  // nor retiring. A retiring block whose pin is seen becomes ready again, so
  // it is worth trying.
  static uint64_t AsReady(uint64_t word) {
    static_assert(static_cast<int>(protocol::ResidenceState::kReady) == 2);
    static_assert(static_cast<int>(protocol::ResidenceState::kRetiring) == 3);
    return (word & (kStateMask & ~uint64_t{1})) == 2 ? word & ~uint64_t{1} : 0;
  }

  static uint64_t AsReadyOrPending(uint64_t word) {
    static_assert(static_cast<int>(protocol::ResidenceState::kPending) == 1);
    return (word & kStateMask) == 1 ? word : AsReady(word);
  }

  IndexHit ReadSlot(const BlockKey& key, uint64_t location) const {
    const protocol::Bucket& bucket =
        buckets_[location / protocol::kSlotsPerBucket];
    const uint32_t slot =
        static_cast<uint32_t>(location % protocol::kSlotsPerBucket);
    const uint64_t word =
        AsReady(bucket.host[slot].load(std::memory_order_acquire));
    if (bucket.key_hi[slot].load(std::memory_order_relaxed) != key.hi ||
        bucket.key_lo[slot].load(std::memory_order_relaxed) != key.lo) {
      return {};
    }
    return {word, location};
  }

  // A pool's blocks are numbered from host_blocks_ on: what stands in the wrong
  // column is no hit.
  IndexHit ReadSlotAny(const BlockKey& key, uint64_t location,
                       const GpuPools& pools, const UsablePools& usable) const {
    const protocol::Bucket& bucket =
        buckets_[location / protocol::kSlotsPerBucket];
    const auto slot =
        static_cast<uint32_t>(location % protocol::kSlotsPerBucket);
    const uint64_t host =
        AsReady(bucket.host[slot].load(std::memory_order_acquire));
    uint64_t gpu = AsReady(bucket.gpu[slot].load(std::memory_order_acquire));
    if (bucket.key_hi[slot].load(std::memory_order_relaxed) != key.hi ||
        bucket.key_lo[slot].load(std::memory_order_relaxed) != key.lo) {
      return {};
    }
    if (gpu != 0) {
      const uint32_t pool = pools.PoolOf(protocol::UnpackResidence(gpu).block);
      if (pool == 0 || usable.incarnation(pool) == 0) gpu = 0;
    }
    if (gpu != 0 && (usable.gpu_first || host == 0)) return {gpu, location};
    return {host != 0 && !InGpu(host) ? host : 0, location};
  }

  template <Column column>
  [[gnu::always_inline]] Verdict RecheckIn(const BlockKey& key,
                                           const IndexHit& hit) const {
    const protocol::Bucket& bucket =
        buckets_[hit.slot / protocol::kSlotsPerBucket];
    const auto& words = bucket.*column;
    const uint32_t slot =
        static_cast<uint32_t>(hit.slot % protocol::kSlotsPerBucket);
    const uint64_t word = words[slot].load(std::memory_order_acquire);
    if (word != hit.word && AsReady(word) != hit.word) return Verdict::kGone;
    if (bucket.key_lo[slot].load(std::memory_order_acquire) != key.lo ||
        bucket.key_hi[slot].load(std::memory_order_acquire) != key.hi) {
      return Verdict::kGone;
    }
    // The residence once more: a slot that `clear` emptied may have taken
    // another block since, then this key again under a generation that wrapped
    // round (mutant "residence before key" of tests/model).
    if (words[slot].load(std::memory_order_relaxed) != word) {
      return Verdict::kRetiring;
    }
    return word == hit.word ? Verdict::kValid : Verdict::kRetiring;
  }

  template <Column column>
  InFlightHit ReadInFlightIn(const BlockKey& key, uint64_t slot) const {
    const protocol::Bucket& bucket = buckets_[slot / protocol::kSlotsPerBucket];
    const auto& words = bucket.*column;
    const auto i = static_cast<uint32_t>(slot % protocol::kSlotsPerBucket);
    for (uint32_t read = 0; read < kTornReadsMax; ++read) {
      const uint64_t word = words[i].load(std::memory_order_acquire);
      const uint64_t lo = bucket.key_lo[i].load(std::memory_order_acquire);
      const uint64_t hi = bucket.key_hi[i].load(std::memory_order_acquire);
      const uint64_t aux = bucket.aux[i].load(std::memory_order_acquire);
      if (words[i].load(std::memory_order_relaxed) != word) continue;
      const uint64_t there = AsReadyOrPending(word);
      if (there == 0 || lo != key.lo || hi != key.hi) return {};
      return {there, slot, aux, there != word};
    }
    return {};
  }

  const protocol::Bucket* buckets_ = nullptr;
  uint32_t bucket_count_ = 0;
  uint32_t host_blocks_ = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_INDEX_VIEW_H_
