#include "daemon/core/lease_table.h"

#include <algorithm>
#include <utility>

namespace kvferry::core {

uint64_t LeaseTable::Add(Lease lease) {
  const uint64_t id = next_id_++;
  lease.id = id;
  for (uint32_t block : lease.blocks) ++holds_[block];
  for (const BlockKey& key : lease.wanted) wanted_[key].push_back(id);
  if (lease.publication.followable()) {
    by_publication_[lease.publication.generation].push_back(id);
  }
  key_count_ += lease.keys.size();
  next_deadline_ms_ = std::min(next_deadline_ms_, lease.deadline_ms);
  leases_.emplace(id, std::move(lease));
  return id;
}

void LeaseTable::Extend(uint64_t id, std::span<const BlockKey> keys,
                        std::span<const uint32_t> blocks,
                        std::span<const BlockKey> wanted,
                        uint32_t tail_tokens) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  Lease& lease = found->second;
  lease.keys.insert(lease.keys.end(), keys.begin(), keys.end());
  lease.blocks.insert(lease.blocks.end(), blocks.begin(), blocks.end());
  lease.wanted.insert(wanted.begin(), wanted.end());
  lease.tail_tokens = tail_tokens;
  for (uint32_t block : blocks) ++holds_[block];
  for (const BlockKey& key : wanted) wanted_[key].push_back(id);
  key_count_ += keys.size();
}

void LeaseTable::Adopt(const BlockKey& key, uint32_t group, uint32_t block) {
  const auto waiting = wanted_.find(key);
  if (waiting == wanted_.end()) return;
  const std::vector<uint64_t> ids = std::move(waiting->second);
  wanted_.erase(waiting);
  for (const uint64_t id : ids) {
    Lease& lease = leases_.at(id);
    lease.wanted.erase(key);
    // A key of another group is not what the ticket means.
    if (lease.group != group) continue;
    lease.blocks.push_back(block);
    ++holds_[block];
  }
}

void LeaseTable::SetHandOver(uint32_t generation, const std::string& bytes) {
  const auto found = by_publication_.find(generation);
  if (found == by_publication_.end()) return;
  for (const uint64_t id : found->second) {
    Lease& lease = leases_.at(id);
    if (lease.hand_over.empty()) lease.hand_over = bytes;
  }
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
  wanted_.clear();
  by_publication_.clear();
  key_count_ = 0;
}

void LeaseTable::Drop(const Lease& lease) {
  key_count_ -= lease.keys.size();
  for (uint32_t block : lease.blocks) {
    const auto held = holds_.find(block);
    if (--held->second == 0) holds_.erase(held);
  }
  const auto forget = [&lease](auto* by, const auto& at) {
    const auto found = by->find(at);
    if (found == by->end()) return;
    std::erase(found->second, lease.id);
    if (found->second.empty()) by->erase(found);
  };
  for (const BlockKey& key : lease.wanted) forget(&wanted_, key);
  if (lease.publication.followable()) {
    forget(&by_publication_, lease.publication.generation);
  }
}

}  // namespace kvferry::core
