#ifndef KVFERRY_TESTS_SIM_TOTALS_H_
#define KVFERRY_TESTS_SIM_TOTALS_H_

#include <cstdint>

namespace kvferry::sim {

// What runs did, so that a simulation that does nothing is noticed.
struct Totals {
  uint64_t published = 0;
  uint64_t evicted = 0;
  uint64_t aborted = 0;
  uint64_t pages_read = 0;
  uint64_t leases = 0;
  uint64_t leases_in_flight = 0;
  uint64_t hand_overs = 0;      // looks at those of a handle that had ended
  uint64_t followed = 0;        // blocks read whole while they were pending
  uint64_t layered = 0;         // blocks of which a layer was
  uint64_t awaited = 0;         // keys waited for before they were begun
  uint64_t failed_streams = 0;  // that ended without all their keys
  uint64_t standbys = 0;
  uint64_t adopted = 0;  // standbys that took a failed one's place
  uint64_t stalls = 0;
  uint64_t wills = 0;         // blocks ready by what a dead writer's word said
  uint64_t unfollowable = 0;  // publications without a slot
  uint64_t gpu_reads = 0;     // blocks read whole out of GPU memory
  uint64_t gpu_follows = 0;   // ... while they were pending
  uint64_t gpu_misses = 0;    // ... from a memory that was gone by then
  uint64_t gpu_deaths = 0;
  uint64_t haunted = 0;  // pages that devices of the dead wrote
  uint64_t written_behind = 0;
  uint64_t dropped = 0;
  uint64_t promoted = 0;
  uint64_t spilled = 0;
  uint64_t lost = 0;

  Totals& operator+=(const Totals& other) {
    published += other.published;
    evicted += other.evicted;
    aborted += other.aborted;
    pages_read += other.pages_read;
    leases += other.leases;
    leases_in_flight += other.leases_in_flight;
    hand_overs += other.hand_overs;
    followed += other.followed;
    layered += other.layered;
    awaited += other.awaited;
    failed_streams += other.failed_streams;
    standbys += other.standbys;
    adopted += other.adopted;
    stalls += other.stalls;
    wills += other.wills;
    unfollowable += other.unfollowable;
    gpu_reads += other.gpu_reads;
    gpu_follows += other.gpu_follows;
    gpu_misses += other.gpu_misses;
    gpu_deaths += other.gpu_deaths;
    haunted += other.haunted;
    written_behind += other.written_behind;
    dropped += other.dropped;
    promoted += other.promoted;
    spilled += other.spilled;
    lost += other.lost;
    return *this;
  }
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_TOTALS_H_
