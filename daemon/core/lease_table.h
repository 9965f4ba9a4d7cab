#ifndef KVFERRY_DAEMON_CORE_LEASE_TABLE_H_
#define KVFERRY_DAEMON_CORE_LEASE_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "kvferry/key.h"

namespace kvferry::core {

// Blocks that the daemon itself keeps pinned for the holders of a ticket.
struct Lease {
  uint64_t id = 0;
  uint32_t group = 0;
  uint32_t consumers_left = 0;
  uint64_t deadline_ms = 0;
  std::vector<BlockKey> keys;
  std::vector<uint32_t> blocks;
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
  bool Holds(uint32_t block) const { return holds_.contains(block); }
  // Distinct blocks held, and keys named, by all leases.
  uint32_t held_blocks() const { return static_cast<uint32_t>(holds_.size()); }
  uint64_t key_count() const { return key_count_; }
  uint32_t size() const { return static_cast<uint32_t>(leases_.size()); }

 private:
  void Drop(const Lease& lease);

  uint64_t next_id_ = 1;
  uint64_t key_count_ = 0;
  uint64_t next_deadline_ms_ = ~uint64_t{0};  // none is due earlier
  absl::flat_hash_map<uint64_t, Lease> leases_;
  absl::flat_hash_map<uint32_t, uint32_t> holds_;  // block -> leases
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_LEASE_TABLE_H_
