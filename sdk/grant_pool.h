#ifndef KVFERRY_SDK_GRANT_POOL_H_
#define KVFERRY_SDK_GRANT_POOL_H_

#include <cstdint>
#include <vector>

#include "sdk/pool_map.h"

namespace kvferry::sdk {

// The blocks of each group that the daemon granted ahead and nobody here is
// writing, apart for host memory (pool 0) and each GPU pool. A granted block is
// in one of four places: here, offered with a begin that is not answered yet,
// with an application that may still be writing to it, or on its way back
// (GiveBack).
//
// Threads  one at a time
class GrantPool {
 public:
  explicit GrantPool(uint32_t group_count, const PoolMap& map = {})
      : map_(map), lists_(group_count + map.pool_count()) {}

  // The block says which pool it is of.
  // REQUIRES  it is one of the group's
  void Put(uint32_t group, uint32_t block) {
    lists_[ListOf(group, map_.PoolOf(block))].push_back(block);
  }

  uint32_t count(uint32_t group, uint32_t pool = 0) const {
    return static_cast<uint32_t>(lists_[ListOf(group, pool)].size());
  }

  // The block put in last: its memory is the likeliest to be in a cache.
  // REQUIRES  count(group, pool) > 0
  uint32_t Take(uint32_t group, uint32_t pool = 0) {
    std::vector<uint32_t>& list = lists_[ListOf(group, pool)];
    const uint32_t block = list.back();
    list.pop_back();
    return block;
  }

 private:
  // A GPU pool is of one group: its own list. The host's are by group, behind.
  size_t ListOf(uint32_t group, uint32_t pool) const {
    return pool != 0 ? pool - 1 : map_.pool_count() + group;
  }

  const PoolMap map_;
  std::vector<std::vector<uint32_t>> lists_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GRANT_POOL_H_
