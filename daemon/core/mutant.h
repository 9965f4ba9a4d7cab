#ifndef KVFERRY_DAEMON_CORE_MUTANT_H_
#define KVFERRY_DAEMON_CORE_MUTANT_H_

// Deliberate mistakes for tests/sim, which must find each of them. A normal
// build has none: KVFERRY_MUTANT is defined only for the mutants' own
// libraries, and every use below the `if` folds away.
#ifndef KVFERRY_MUTANT
#define KVFERRY_MUTANT 0
#endif

namespace kvferry::core {

enum class Mutant {
  kNone = 0,
  kRetireIgnoresPins = 1,  // evicts without looking at the pins again
  kReadyOnFirstSlice = 2,  // visible before every slice is committed
  kDeadSessionKeepsGrants = 3,
  kClearForgetsInFlight = 4,    // cleared publications still become visible
  kAbortFreesWhileWritten = 5,  // another rank may still write the block
  kLeaseIgnored = 6,            // evicts what a ticket holds
  kAbortIgnoresPins = 7,        // frees a pending block that is being followed
  kStallFreesBlock = 8,         // ... that a stalled writer may go on writing
  kStandbyReadyTooSoon = 9,     // adopted as ready before it is committed
  kDeathAdoptsAll = 10,         // commits more than the dead writer had written
  kStandbyOutlivesClear = 11,   // cleared keys come back from a standby
  kDropIgnoresPins = 12,        // drops a GPU residence that is being read
  kDropsUncleanBlock = 13,      // ... that host memory has no copy of
  kEvictReadsHostPinsOnly = 14,
  kWriteBehindReadyTooSoon = 15,  // host residence before its bytes are there
  kPoolDownKeepsResidences = 16,  // the memory is gone, the index says no
  kPromotionReadyTooSoon = 17,    // GPU residence before its bytes are there
  kNoRest = 18,  // a dead process's device may still write its blocks
  kStaleGrantPublishes = 19,  // a block granted of the memory before
};

constexpr bool IsMutant(Mutant mutant) {
  return KVFERRY_MUTANT == static_cast<int>(mutant);
}

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_MUTANT_H_
