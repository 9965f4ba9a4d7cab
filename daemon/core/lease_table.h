#ifndef KVFERRY_DAEMON_CORE_LEASE_TABLE_H_
#define KVFERRY_DAEMON_CORE_LEASE_TABLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "kvferry/key.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// Blocks that the daemon itself keeps pinned for the holders of a ticket.
struct Lease {
  uint64_t id = 0;
  uint32_t group = 0;
  uint32_t consumers_left = 0;
  uint64_t deadline_ms = 0;
  uint16_t session = 0;  // that minted it
  uint32_t handle = 0;   // of the publication there
  bool in_flight = false;
  std::vector<BlockKey> keys;
  uint32_t tail_tokens = 0;      // of the last key's block; 0: full
  std::vector<uint32_t> blocks;  // those that are held so far, in any order
  // Keys that are to be held once they are ready.
  absl::flat_hash_set<BlockKey> wanted;
  // The publication that brings them; generation 0: none.
  protocol::PublicationRef publication;
  std::string hand_over;  // once it is known
};

// The leases of a namespace and, for the retirer, which blocks they hold.
class LeaseTable {
 public:
  // Returns its id, never used before and never zero.
  uint64_t Add(Lease lease);
  const Lease* Find(uint64_t id) const;
  // One consumer is done; the last one's call ends the lease.
  // Returns false when there is no such lease.
  bool Release(uint64_t id);
  // Ends the leases whose deadline has passed.
  void Expire(uint64_t now_ms);
  // Ends them all.
  void Clear();

  // Appends keys to a lease: `blocks` are held, `wanted` later.
  void Extend(uint64_t id, std::span<const BlockKey> keys,
              std::span<const uint32_t> blocks,
              std::span<const BlockKey> wanted, uint32_t tail_tokens);
  // A block has become ready under `key`: leases that wait for it hold it.
  void Ready(const BlockKey& key, uint32_t group, uint32_t block) {
    if (!wanted_.empty()) Adopt(key, group, block);
  }
  // The publication's hand-over data, for its leases that have none.
  void SetHandOver(uint32_t generation, const std::string& bytes);
  // Whether any lease belongs to the publication.
  bool Follows(uint32_t generation) const {
    return by_publication_.contains(generation);
  }
  bool Holds(uint32_t block) const { return holds_.contains(block); }
  // Distinct blocks that are held or will be, and keys named, by all leases.
  uint32_t held_blocks() const {
    return static_cast<uint32_t>(holds_.size() + wanted_.size());
  }
  uint64_t key_count() const { return key_count_; }
  uint32_t size() const { return static_cast<uint32_t>(leases_.size()); }

 private:
  void Drop(const Lease& lease);
  void Adopt(const BlockKey& key, uint32_t group, uint32_t block);

  uint64_t next_id_ = 1;
  uint64_t key_count_ = 0;
  uint64_t next_deadline_ms_ = ~uint64_t{0};  // none is due earlier
  absl::flat_hash_map<uint64_t, Lease> leases_;
  absl::flat_hash_map<uint32_t, uint32_t> holds_;  // block -> leases
  // Key, and publication's generation -> ids of leases.
  absl::flat_hash_map<BlockKey, std::vector<uint64_t>> wanted_;
  absl::flat_hash_map<uint32_t, std::vector<uint64_t>> by_publication_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_LEASE_TABLE_H_
