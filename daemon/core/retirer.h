#ifndef KVFERRY_DAEMON_CORE_RETIRER_H_
#define KVFERRY_DAEMON_CORE_RETIRER_H_

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "daemon/core/block_table.h"
#include "daemon/core/index_writer.h"
#include "daemon/core/lease_table.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// Decides whether anybody may still be reading a block: the daemon's half of
// INV-PIN-1 (protocol/shm_layout.h), Dekker's pattern against a client that
// pins and then re-reads the slot.
//
// A key may have two residences, each a word and a block with pins of its own.
// A reader uses one of them: it pins that block and re-reads that word (and the
// key). So each word with its cells is the pattern of
// tests/model/pin_retire.pml by itself, and nothing new: Drop marks and erases
// one of the two words; Retire marks both before the one fence and reads the
// cells of both after it, as of two blocks of a batch, and gives up both when
// either is held. A reader that had validated one word is found by its cell;
// one that had not finds that word marked or zero. The key words, which both
// share, change only when neither block is held, and a reader looks at its
// residence word again after them.
//
// Threads  one
class Retirer {
 public:
  Retirer(IndexWriter* index, BlockTable* blocks, const LeaseTable* leases)
      : index_(index), blocks_(blocks), leases_(leases) {}

  void AddSession(uint16_t session, const protocol::PinCell* pins) {
    pins_[session] = pins;
  }
  void RemoveSession(uint16_t session) { pins_.erase(session); }

  // Whether a session, a lease or a copy under way holds `block` now. Decides
  // nothing by itself: a client may pin the moment after, unless the slot was
  // marked and fenced before. Leases hold the block in host memory.
  bool Held(uint32_t block) const;
  // The same of either residence of the key whose host block it is.
  bool KeyHeld(uint32_t host_block) const;
  // Over all sessions.
  uint32_t PinCount(uint32_t block) const;

  // Takes the keys of the ready host blocks `victims` out of the index, with
  // both residences, where nobody holds either. They are appended to
  // `retired`, still kReady and paired in the block table; the others,
  // restored, to `held`.
  void Retire(std::span<const uint32_t> victims, std::vector<uint32_t>* retired,
              std::vector<uint32_t>* held);
  // The same for ready blocks of GPU pools and their residences alone: their
  // keys stay, with those in host memory.
  void Drop(std::span<const uint32_t> victims, std::vector<uint32_t>* dropped,
            std::vector<uint32_t>* held);

 private:
  void SetWords(uint32_t block, protocol::ResidenceState state);

  IndexWriter* const index_;
  BlockTable* const blocks_;
  const LeaseTable* const leases_;
  std::map<uint16_t, const protocol::PinCell*> pins_;
  std::vector<uint32_t> marked_;  // scratch of Retire
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_RETIRER_H_
