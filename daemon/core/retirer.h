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
// Threads  one
class Retirer {
 public:
  Retirer(IndexWriter* index, BlockTable* blocks, const LeaseTable* leases)
      : index_(index), blocks_(blocks), leases_(leases) {}

  void AddSession(uint16_t session, const protocol::PinCell* pins) {
    pins_[session] = pins;
  }
  void RemoveSession(uint16_t session) { pins_.erase(session); }

  // Whether a session or a lease holds `block` now. Decides nothing by itself:
  // a client may pin the moment after, unless the slot was marked and fenced
  // before.
  bool Held(uint32_t block) const;
  // Over all sessions.
  uint32_t PinCount(uint32_t block) const;

  // Takes the ready blocks of `victims` that nobody holds out of the index.
  // They are appended to `retired`, still kReady in the block table; the
  // others, restored, to `held`.
  void Retire(std::span<const uint32_t> victims, std::vector<uint32_t>* retired,
              std::vector<uint32_t>* held);

 private:
  IndexWriter* const index_;
  BlockTable* const blocks_;
  const LeaseTable* const leases_;
  std::map<uint16_t, const protocol::PinCell*> pins_;
  std::vector<uint32_t> marked_;  // scratch of Retire
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_RETIRER_H_
