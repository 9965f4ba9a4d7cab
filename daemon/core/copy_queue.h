#ifndef KVFERRY_DAEMON_CORE_COPY_QUEUE_H_
#define KVFERRY_DAEMON_CORE_COPY_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "daemon/core/namespace_types.h"

namespace kvferry::core {

// The copies between GPU pools and host memory that a namespace wants, from
// the order to its completion:
//
//   1. Add      it waits
//   2. Take     it is the worker's: it may be running at any moment from here
//   3. Finish   it is over; or TakeWaiting, ForgetPool: nobody waits for it
//
// Nothing here touches blocks: who orders and who finishes does.
//
// Threads  one
class CopyQueue {
 public:
  struct Entry {
    CopyOrder order;
    bool taken = false;
    uint32_t failures = 0;  // of orders before that this one repeats
  };

  // Pools are numbered 1 to `pool_count`.
  explicit CopyQueue(uint32_t pool_count) : waiting_(pool_count + 1) {}

  // `order` but for its id, which it gets here. Returns the id.
  uint64_t Add(CopyOrder order, uint32_t failures = 0);

  // Appends at most `room` waiting orders of the pools, one of each pool in
  // turn. Of a pool's, those to the host come first, as they free both
  // memories, but of kTurns in a row one goes to the GPU.
  void Take(std::span<const uint32_t> pools, size_t room,
            std::vector<CopyOrder>* out);

  // The order of that id that was taken, which is over now.
  std::optional<Entry> Finish(uint64_t id);

  // Forgets all orders that wait, or all of a pool, and returns them by id.
  std::vector<Entry> TakeWaiting();
  std::vector<Entry> ForgetPool(uint32_t pool);

  size_t waiting(uint32_t pool) const {
    return waiting_[pool].to_host.size() + waiting_[pool].to_gpu.size();
  }
  // All orders that are not over, by id.
  const std::map<uint64_t, Entry>& entries() const { return entries_; }

 private:
  static constexpr uint32_t kTurns = 8;
  struct Waiting {
    std::deque<uint64_t> to_host;
    std::deque<uint64_t> to_gpu;
    uint32_t turns = 0;  // in a row that went to the host
  };
  bool TakeOne(uint32_t pool, std::vector<CopyOrder>* out);

  std::map<uint64_t, Entry> entries_;
  std::vector<Waiting> waiting_;  // by pool number
  uint64_t next_id_ = 1;
  size_t first_ = 0;  // whose turn it is to be first
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_COPY_QUEUE_H_
