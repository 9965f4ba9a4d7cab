#ifndef KVFERRY_DAEMON_CORE_INDEX_WRITER_H_
#define KVFERRY_DAEMON_CORE_INDEX_WRITER_H_

#include <array>
#include <cstdint>

#include "kvferry/key.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// A place in the index: bucket x 8 + slot.
inline constexpr uint32_t kNoSlot = 0xffff'ffff;

// The one writer of a namespace's index (INV-INDEX-1, INV-INDEX-2 at
// protocol::Bucket). Readers in other processes search it at any moment.
//
// Threads  one
class IndexWriter {
 public:
  IndexWriter(protocol::Bucket* buckets, uint32_t bucket_count)
      : buckets_(buckets), bucket_count_(bucket_count) {}

  // The slot of `key`, or kNoSlot.
  uint32_t Find(const BlockKey& key) const;

  // Puts `key` into the emptier of its two buckets, with its residences.
  // REQUIRES  Find(key) == kNoSlot; one of `host` and `gpu` is kFree, the other
  //           is not
  // Returns kNoSlot when both are full: Occupants() names who is there.
  uint32_t Insert(const BlockKey& key, uint64_t host, uint64_t aux,
                  uint64_t gpu = 0);

  // The slots of both buckets of `key`.
  std::array<uint32_t, 2 * protocol::kSlotsPerBucket> Occupants(
      const BlockKey& key) const;

  void SetHost(uint32_t slot, uint64_t word) {
    at(slot).host[slot % protocol::kSlotsPerBucket].store(
        word, std::memory_order_release);
  }
  uint64_t host(uint32_t slot) const {
    return at(slot).host[slot % protocol::kSlotsPerBucket].load(
        std::memory_order_relaxed);
  }
  void SetGpu(uint32_t slot, uint64_t word) {
    at(slot).gpu[slot % protocol::kSlotsPerBucket].store(
        word, std::memory_order_release);
  }
  uint64_t gpu(uint32_t slot) const {
    return at(slot).gpu[slot % protocol::kSlotsPerBucket].load(
        std::memory_order_relaxed);
  }
  uint64_t aux(uint32_t slot) const {
    return at(slot).aux[slot % protocol::kSlotsPerBucket].load(
        std::memory_order_relaxed);
  }
  BlockKey key(uint32_t slot) const;

  // The slot is empty afterwards.
  void Erase(uint32_t slot);

  uint32_t used() const { return used_; }
  uint32_t slot_count() const {
    return bucket_count_ * protocol::kSlotsPerBucket;
  }

 private:
  protocol::Bucket& at(uint32_t slot) const {
    return buckets_[slot / protocol::kSlotsPerBucket];
  }

  protocol::Bucket* const buckets_;
  const uint32_t bucket_count_;
  uint32_t used_ = 0;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_INDEX_WRITER_H_
