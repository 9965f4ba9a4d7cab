#include "daemon/core/index_writer.h"

namespace kvferry::core {
namespace {

using protocol::Bucket;
using protocol::kSlotsPerBucket;

bool Empty(const Bucket& bucket, uint32_t slot) {
  return bucket.host[slot].load(std::memory_order_relaxed) == 0 &&
         bucket.gpu[slot].load(std::memory_order_relaxed) == 0;
}

}  // namespace

uint32_t IndexWriter::Find(const BlockKey& key) const {
  const protocol::BucketPair pair =
      protocol::BucketsOf(key.lo, key.hi, bucket_count_);
  for (uint32_t b : {pair.first, pair.second}) {
    const Bucket& bucket = buckets_[b];
    for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
      if (bucket.key_lo[i].load(std::memory_order_relaxed) == key.lo &&
          bucket.key_hi[i].load(std::memory_order_relaxed) == key.hi &&
          !Empty(bucket, i)) {
        return b * kSlotsPerBucket + i;
      }
    }
  }
  return kNoSlot;
}

uint32_t IndexWriter::Insert(const BlockKey& key, uint64_t host, uint64_t aux,
                             uint64_t gpu) {
  const protocol::BucketPair pair =
      protocol::BucketsOf(key.lo, key.hi, bucket_count_);
  uint32_t best = kNoSlot;
  uint32_t best_room = 0;
  for (uint32_t b : {pair.first, pair.second}) {
    uint32_t room = 0;
    uint32_t free_slot = 0;
    for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
      if (Empty(buckets_[b], i)) {
        ++room;
        free_slot = i;
      }
    }
    if (room > best_room) {
      best_room = room;
      best = b * kSlotsPerBucket + free_slot;
    }
  }
  if (best == kNoSlot) return kNoSlot;
  Bucket& bucket = at(best);
  const uint32_t i = best % kSlotsPerBucket;
  bucket.key_lo[i].store(key.lo, std::memory_order_relaxed);
  bucket.key_hi[i].store(key.hi, std::memory_order_relaxed);
  bucket.aux[i].store(aux, std::memory_order_relaxed);
  // A reader that acquires a residence sees the key words above. One that
  // sees them and the old zero residences takes the slot for empty.
  if (host != 0) bucket.host[i].store(host, std::memory_order_release);
  if (gpu != 0) bucket.gpu[i].store(gpu, std::memory_order_release);
  ++used_;
  return best;
}

std::array<uint32_t, 2 * kSlotsPerBucket> IndexWriter::Occupants(
    const BlockKey& key) const {
  const protocol::BucketPair pair =
      protocol::BucketsOf(key.lo, key.hi, bucket_count_);
  std::array<uint32_t, 2 * kSlotsPerBucket> slots;
  for (uint32_t i = 0; i < kSlotsPerBucket; ++i) {
    slots[i] = pair.first * kSlotsPerBucket + i;
    slots[kSlotsPerBucket + i] = pair.second * kSlotsPerBucket + i;
  }
  return slots;
}

BlockKey IndexWriter::key(uint32_t slot) const {
  const Bucket& bucket = at(slot);
  const uint32_t i = slot % kSlotsPerBucket;
  return {bucket.key_lo[i].load(std::memory_order_relaxed),
          bucket.key_hi[i].load(std::memory_order_relaxed)};
}

void IndexWriter::Erase(uint32_t slot) {
  Bucket& bucket = at(slot);
  const uint32_t i = slot % kSlotsPerBucket;
  // Residences first: a reader that validates after this sees no block here.
  // The key words may then go in any order.
  bucket.host[i].store(0, std::memory_order_release);
  bucket.gpu[i].store(0, std::memory_order_release);
  bucket.key_lo[i].store(0, std::memory_order_relaxed);
  bucket.key_hi[i].store(0, std::memory_order_relaxed);
  bucket.aux[i].store(0, std::memory_order_relaxed);
  --used_;
}

}  // namespace kvferry::core
