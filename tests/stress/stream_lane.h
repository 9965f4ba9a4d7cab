#ifndef KVFERRY_TESTS_STRESS_STREAM_LANE_H_
#define KVFERRY_TESTS_STRESS_STREAM_LANE_H_

#include <atomic>
#include <cstdint>

namespace kvferry::test {

// What the processes of one round tell each other, in memory that they share.
// One lane runs one round at a time.
struct StreamLane {
  struct Publisher {
    // Leading positions whose commit was about to be called, and had returned:
    // no reader may have more of them, and none less once it is over.
    std::atomic<uint32_t> committing;
    std::atomic<uint32_t> committed;
    // Blocks that it scribbled over, since they were void.
    std::atomic<uint32_t> scribbled;
  };
  Publisher publishers[2];
  // Size of the ticket, stored after it; 0: none yet.
  std::atomic<uint32_t> ticket_bytes;
  char ticket[256];
  // Ranks that have begun all their blocks.
  std::atomic<uint32_t> begun_ranks;
  // 1 when nobody publishes any more, and when somebody stands still.
  std::atomic<uint32_t> publishers_gone;
  std::atomic<uint32_t> publishers_stopped;
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_STRESS_STREAM_LANE_H_
