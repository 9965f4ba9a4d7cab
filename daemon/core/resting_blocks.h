#ifndef KVFERRY_DAEMON_CORE_RESTING_BLOCKS_H_
#define KVFERRY_DAEMON_CORE_RESTING_BLOCKS_H_

#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace kvferry::core {

// Blocks that a device may still be writing although the process that told it
// to is gone, each until a time by which that is over (protocol::kGpuRestMs).
// All of them are quarantined.
//
// Threads  one
class RestingBlocks {
 public:
  // Until the later of the two, if it rests already.
  void Add(uint32_t block, uint64_t until_ms) {
    const auto [it, added] = until_.try_emplace(block, until_ms);
    if (!added) {
      if (it->second >= until_ms) return;
      by_time_.erase({it->second, block});
      it->second = until_ms;
    }
    by_time_.emplace(until_ms, block);
  }

  void Expire(uint64_t now_ms) {
    while (!by_time_.empty() && by_time_.begin()->first <= now_ms) {
      until_.erase(by_time_.begin()->second);
      by_time_.erase(by_time_.begin());
    }
  }

  bool Rests(uint32_t block) const { return until_.contains(block); }
  // Of the blocks [first, first + count).
  uint32_t Count(uint32_t first, uint32_t count) const {
    uint32_t resting = 0;
    for (auto it = until_.lower_bound(first);
         it != until_.end() && it->first - first < count; ++it) {
      ++resting;
    }
    return resting;
  }
  const std::map<uint32_t, uint64_t>& blocks() const { return until_; }

 private:
  std::map<uint32_t, uint64_t> until_;
  std::set<std::pair<uint64_t, uint32_t>> by_time_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_RESTING_BLOCKS_H_
