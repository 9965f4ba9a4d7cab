#include "daemon/core/copy_queue.h"

#include <utility>

namespace kvferry::core {

uint64_t CopyQueue::Add(CopyOrder order, uint32_t failures) {
  order.id = next_id_++;
  Waiting& waiting = waiting_[order.pool];
  (order.to_host ? waiting.to_host : waiting.to_gpu).push_back(order.id);
  entries_[order.id] = {.order = order, .failures = failures};
  return order.id;
}

bool CopyQueue::TakeOne(uint32_t pool, std::vector<CopyOrder>* out) {
  Waiting& waiting = waiting_[pool];
  const bool to_gpu = !waiting.to_gpu.empty() &&
                      (waiting.to_host.empty() || waiting.turns + 1 >= kTurns);
  std::deque<uint64_t>& from = to_gpu ? waiting.to_gpu : waiting.to_host;
  if (from.empty()) return false;
  waiting.turns = to_gpu ? 0 : waiting.turns + 1;
  Entry& entry = entries_.at(from.front());
  from.pop_front();
  entry.taken = true;
  out->push_back(entry.order);
  return true;
}

void CopyQueue::Take(std::span<const uint32_t> pools, size_t room,
                     std::vector<CopyOrder>* out) {
  if (pools.empty()) return;
  size_t empty = 0;  // pools in a row that had nothing
  for (size_t i = first_++; room > 0 && empty < pools.size(); ++i) {
    if (TakeOne(pools[i % pools.size()], out)) {
      --room;
      empty = 0;
    } else {
      ++empty;
    }
  }
}

std::optional<CopyQueue::Entry> CopyQueue::Finish(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.taken) return std::nullopt;
  const Entry entry = found->second;
  entries_.erase(found);
  return entry;
}

std::vector<CopyQueue::Entry> CopyQueue::TakeWaiting() {
  std::vector<Entry> gone;
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (it->second.taken) {
      ++it;
      continue;
    }
    gone.push_back(it->second);
    it = entries_.erase(it);
  }
  for (Waiting& waiting : waiting_) waiting = {};
  return gone;
}

std::vector<CopyQueue::Entry> CopyQueue::ForgetPool(uint32_t pool) {
  std::vector<Entry> gone;
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (it->second.order.pool != pool) {
      ++it;
      continue;
    }
    gone.push_back(it->second);
    it = entries_.erase(it);
  }
  waiting_[pool] = {};
  return gone;
}

}  // namespace kvferry::core
