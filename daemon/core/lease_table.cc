#include "daemon/core/lease_table.h"

#include <algorithm>
#include <utility>

namespace kvferry::core {

uint64_t LeaseTable::Add(Lease lease) {
  const uint64_t id = next_id_++;
  lease.id = id;
  for (uint32_t block : lease.blocks) ++holds_[block];
  key_count_ += lease.keys.size();
  next_deadline_ms_ = std::min(next_deadline_ms_, lease.deadline_ms);
  leases_.emplace(id, std::move(lease));
  return id;
}

const Lease* LeaseTable::Find(uint64_t id) const {
  const auto found = leases_.find(id);
  return found == leases_.end() ? nullptr : &found->second;
}

bool LeaseTable::Release(uint64_t id) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return false;
  if (--found->second.consumers_left == 0) {
    Drop(found->second);
    leases_.erase(found);
  }
  return true;
}

void LeaseTable::Expire(uint64_t now_ms) {
  if (now_ms < next_deadline_ms_) return;
  next_deadline_ms_ = ~uint64_t{0};
  for (auto lease = leases_.begin(); lease != leases_.end();) {
    if (lease->second.deadline_ms > now_ms) {
      next_deadline_ms_ =
          std::min(next_deadline_ms_, lease->second.deadline_ms);
      ++lease;
      continue;
    }
    Drop(lease->second);
    leases_.erase(lease++);
  }
}

void LeaseTable::Clear() {
  leases_.clear();
  holds_.clear();
  key_count_ = 0;
}

void LeaseTable::Drop(const Lease& lease) {
  key_count_ -= lease.keys.size();
  for (uint32_t block : lease.blocks) {
    const auto held = holds_.find(block);
    if (--held->second == 0) holds_.erase(held);
  }
}

}  // namespace kvferry::core
