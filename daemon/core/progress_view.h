#ifndef KVFERRY_DAEMON_CORE_PROGRESS_VIEW_H_
#define KVFERRY_DAEMON_CORE_PROGRESS_VIEW_H_

#include <cstdint>
#include <string>

#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// One session's progress file as the daemon reads it. The client writes it at
// any time and may say anything: what is not of the generation asked for is
// nothing, and callers clamp positions to what was begun.
class ProgressView {
 public:
  explicit ProgressView(const protocol::ProgressHeader* header = nullptr)
      : header_(header) {}

  // The record's word as it stands; zero without a file.
  uint64_t Word(uint32_t record) const {
    return header_ == nullptr ? 0
                              : At(record).word.load(std::memory_order_acquire);
  }

  // Positions that the writer of `generation` is done with.
  uint32_t Positions(uint32_t record, uint32_t generation) const {
    const protocol::Progress progress = protocol::UnpackProgress(Word(record));
    return progress.generation == generation ? progress.positions : 0;
  }

  // A copy of the hand-over data of `generation`; empty when there are none.
  std::string HandOver(uint32_t record, uint32_t generation) const;

 private:
  const protocol::ProgressRecord& At(uint32_t record) const {
    return reinterpret_cast<const protocol::ProgressRecord*>(
        reinterpret_cast<const std::byte*>(header_) +
        protocol::kProgressRecordsOffset)[record];
  }

  const protocol::ProgressHeader* header_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_PROGRESS_VIEW_H_
