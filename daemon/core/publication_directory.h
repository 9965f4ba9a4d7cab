#ifndef KVFERRY_DAEMON_CORE_PUBLICATION_DIRECTORY_H_
#define KVFERRY_DAEMON_CORE_PUBLICATION_DIRECTORY_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "protocol/shm_layout.h"

namespace kvferry::core {

inline constexpr uint32_t kNoPublicationSlot = 0xffff'ffff;

// The one writer of a namespace's PublicationRecords: what readers need to
// follow a publication without asking the daemon.
//
// Threads  one; readers in other processes look at any moment
class PublicationDirectory {
 public:
  // `records`: kPublicationSlots of them, zeroed.
  explicit PublicationDirectory(protocol::PublicationRecord* records);

  // Gives a slot to a publication that opens, under the next generation.
  // Returns a reference to its first position; generation 0 when there is no
  // slot left.
  protocol::PublicationRef Open(uint64_t now_ms);
  // The publication has ended. The slot goes to the back of the queue: who has
  // just read about it finds it unchanged for as long as can be.
  void End(uint32_t slot);

  // Its writers stand still, or go on.
  void SetStalled(uint32_t slot, bool stalled);

  // `writer` writes `slices`, those of them that have no writer yet.
  void AddWriter(uint32_t slot, uint64_t slices, protocol::WriterRef writer);
  // `writer` is one of any number that write blocks of one slice: takes some
  // free place. Returns false when there is none.
  bool AddSharer(uint32_t slot, protocol::WriterRef writer);
  void RemoveWriter(uint32_t slot, protocol::WriterRef writer);
  void SetBegun(uint32_t slot, uint32_t positions);
  // Something of the publication has changed that readers may wait for.
  void Changed(uint32_t slot);
  // The same, of a publication that may have ended, unless its slot has gone to
  // another.
  void ChangedLate(protocol::PublicationRef publication);

  // Slots whose `changes` word was bumped since the last call: each has to be
  // woken, once everything that led to it is stored.
  std::vector<uint32_t> TakeChanged();
  const std::atomic<uint32_t>& changes(uint32_t slot) const {
    return records_[slot].changes;
  }
  // Whether the slot is still that publication's, and it has not ended.
  bool Has(protocol::PublicationRef publication) const;
  // The same, and it gets on.
  bool IsOpen(protocol::PublicationRef publication) const;

  uint32_t open_count() const {
    return protocol::kPublicationSlots - static_cast<uint32_t>(free_.size());
  }

 private:
  protocol::PublicationRecord* const records_;
  std::deque<uint32_t> free_;
  uint32_t last_generation_ = 0;
  std::vector<uint32_t> changed_;
  std::vector<bool> is_changed_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_PUBLICATION_DIRECTORY_H_
