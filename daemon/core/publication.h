#ifndef KVFERRY_DAEMON_CORE_PUBLICATION_H_
#define KVFERRY_DAEMON_CORE_PUBLICATION_H_

#include <compare>
#include <cstdint>
#include <vector>

#include "kvferry/key.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// What ranks join a publication by.
struct PublicationIdentity {
  uint64_t engine_instance = 0;
  uint64_t publication = 0;
  friend auto operator<=>(const PublicationIdentity&,
                          const PublicationIdentity&) = default;
};

enum class EntryState : uint8_t {
  kWriting,   // pending in the index, its block kPublishing
  kReady,     // every slice was committed
  kExists,    // was there before: nothing of it is ours
  kInFlight,  // another publication's
  kNoSpace,
  kAborted,  // out of the index; its block kQuarantined until every rank that
             // began it has committed or aborted, then free
  kStandby,  // another publication's is in the index; this one's block, kept
             // for the case that the other fails, is kPublishing without a
             // place there, also when every slice is committed
  kSuperseded,  // a standby whose other became ready; its block as of kAborted
};

// One position of a publication. Ranks must get the same answer for it, however
// late they join, so an answer stays once it was given.
//
// INV-PUB-1  committed and released are disjoint subsets of begun; a slice is
//            in at most one of them, and enters it once.
// INV-PUB-2  The block is visible as ready exactly when committed has every
//            slice of the group.
// INV-PUB-3  An aborted block is not free while begun has a slice that is in
//            neither: its writer may still be writing.
// INV-PUB-4  A standby is in the index only after the entry that was there has
//            left it, and as ready only with every slice committed.
//   Made by    NamespaceCore (publications.cc, standby.cc)
//   Tested     tests/sim, tests/unit/daemon/core/publication_test.cc,
//              standby_test.cc
struct PublicationEntry {
  BlockKey key;
  uint64_t begun = 0;      // slices somebody has begun
  uint64_t committed = 0;  // ... and committed
  uint64_t released = 0;   // ... or given up
  // In host memory or a GPU pool (with a twin in host memory, then).
  uint32_t block = protocol::kNoBlock;
  uint8_t group = 0;
  EntryState state = EntryState::kWriting;
  // Who began it is among the publication's writers that readers know; else
  // the words of those say nothing of it, and its slot names no publication.
  bool followable = false;
};
static_assert(sizeof(PublicationEntry) == 48, "kEntriesPerSessionMax counts");

struct Publication {
  PublicationIdentity identity;
  // Where readers find it; generation 0: there was no slot left.
  protocol::PublicationRef ref;
  std::vector<PublicationEntry> entries;
  std::vector<uint64_t> slice_sets;  // of the handles that have it open
  // Slices whose writer died: what lacks them never becomes ready, unless
  // somebody opens the publication for them again.
  uint64_t lost_slices = 0;
  // When any of its writers was last seen to get on, and whether readers were
  // told that none does.
  uint64_t moved_ms = 0;
  bool stalled = false;
  uint32_t writing = 0;          // entries in kWriting or kStandby
  uint64_t linger_until_ms = 0;  // when nobody has it open
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_PUBLICATION_H_
