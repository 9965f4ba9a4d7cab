#ifndef KVFERRY_SDK_GRANT_POOL_H_
#define KVFERRY_SDK_GRANT_POOL_H_

#include <cstdint>
#include <vector>

namespace kvferry::sdk {

// The blocks of each group that the daemon granted ahead and nobody here is
// writing. A granted block is in one of four places: here, offered with a begin
// that is not answered yet, with an application that may still be writing to
// it, or on its way back (GiveBack).
//
// Threads  one at a time
class GrantPool {
 public:
  explicit GrantPool(uint32_t group_count) : groups_(group_count) {}

  void Put(uint32_t group, uint32_t block) { groups_[group].push_back(block); }

  uint32_t count(uint32_t group) const {
    return static_cast<uint32_t>(groups_[group].size());
  }

  // The block put in last: its memory is the likeliest to be in a cache.
  // REQUIRES  count(group) > 0
  uint32_t Take(uint32_t group) {
    const uint32_t block = groups_[group].back();
    groups_[group].pop_back();
    return block;
  }

 private:
  std::vector<std::vector<uint32_t>> groups_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GRANT_POOL_H_
