#include "daemon/core/publication_directory.h"

#include <utility>

#include "base/check.h"
#include "protocol/progress_layout.h"

namespace kvferry::core {

using protocol::PublicationPhase;
using protocol::PublicationRecord;
using protocol::PublicationRef;
using protocol::WriterRef;

PublicationDirectory::PublicationDirectory(PublicationRecord* records)
    : records_(records), is_changed_(protocol::kPublicationSlots) {
  for (uint32_t slot = 0; slot < protocol::kPublicationSlots; ++slot) {
    free_.push_back(slot);
    for (std::atomic<uint16_t>& writer : records_[slot].writers) {
      writer.store(protocol::kNoWriter, std::memory_order_relaxed);
    }
  }
}

PublicationRef PublicationDirectory::Open(uint64_t now_ms) {
  if (free_.empty()) return {};
  const uint32_t slot = free_.front();
  free_.pop_front();
  if (++last_generation_ == 0) last_generation_ = 1;
  PublicationRecord& record = records_[slot];
  // The generation before anything else of the new publication, so that a
  // reader who sees any of it and reads the generation again sees the new one:
  // release on each store below, acquire on each load of the reader's.
  record.generation.store(last_generation_, std::memory_order_release);
  record.begun.store(0, std::memory_order_release);
  record.started_ms.store(static_cast<uint32_t>(now_ms),
                          std::memory_order_release);
  record.phase.store(static_cast<uint32_t>(PublicationPhase::kOpen),
                     std::memory_order_release);
  return {.generation = last_generation_, .position = 0, .slot = slot};
}

void PublicationDirectory::End(uint32_t slot) {
  PublicationRecord& record = records_[slot];
  record.phase.store(static_cast<uint32_t>(PublicationPhase::kEnded),
                     std::memory_order_release);
  for (std::atomic<uint16_t>& writer : record.writers) {
    writer.store(protocol::kNoWriter, std::memory_order_release);
  }
  Changed(slot);
  free_.push_back(slot);
}

void PublicationDirectory::AddWriter(uint32_t slot, uint64_t slices,
                                     WriterRef writer) {
  KVFERRY_CHECK(writer.record < protocol::kProgressRecords);
  for (uint32_t s = 0; s < protocol::kSlicesMax; ++s) {
    std::atomic<uint16_t>& word = records_[slot].writers[s];
    if ((slices >> s & 1) == 0 ||
        word.load(std::memory_order_relaxed) != protocol::kNoWriter) {
      continue;
    }
    word.store(protocol::PackWriterRef(writer), std::memory_order_release);
  }
  Changed(slot);
}

bool PublicationDirectory::AddSharer(uint32_t slot, WriterRef writer) {
  for (uint32_t s = 0; s < protocol::kSlicesMax; ++s) {
    if (records_[slot].writers[s].load(std::memory_order_relaxed) ==
        protocol::kNoWriter) {
      AddWriter(slot, uint64_t{1} << s, writer);
      return true;
    }
  }
  return false;
}

void PublicationDirectory::RemoveWriter(uint32_t slot, WriterRef writer) {
  for (std::atomic<uint16_t>& word : records_[slot].writers) {
    if (word.load(std::memory_order_relaxed) ==
        protocol::PackWriterRef(writer)) {
      word.store(protocol::kNoWriter, std::memory_order_release);
    }
  }
  Changed(slot);
}

void PublicationDirectory::SetStalled(uint32_t slot, bool stalled) {
  const PublicationPhase phase =
      stalled ? PublicationPhase::kStalled : PublicationPhase::kOpen;
  records_[slot].phase.store(static_cast<uint32_t>(phase),
                             std::memory_order_release);
  Changed(slot);
}

void PublicationDirectory::SetBegun(uint32_t slot, uint32_t positions) {
  records_[slot].begun.store(positions, std::memory_order_release);
}

void PublicationDirectory::Changed(uint32_t slot) {
  // Bumped each time, woken once: who read the word before a change finds it
  // different, also when that change and the last one are woken together.
  records_[slot].changes.fetch_add(1, std::memory_order_release);
  if (is_changed_[slot]) return;
  is_changed_[slot] = true;
  changed_.push_back(slot);
}

void PublicationDirectory::ChangedLate(PublicationRef publication) {
  if (publication.followable() &&
      records_[publication.slot].generation.load(std::memory_order_relaxed) ==
          publication.generation) {
    Changed(publication.slot);
  }
}

std::vector<uint32_t> PublicationDirectory::TakeChanged() {
  for (const uint32_t slot : changed_) is_changed_[slot] = false;
  return std::exchange(changed_, {});
}

bool PublicationDirectory::Has(PublicationRef publication) const {
  if (publication.slot >= protocol::kPublicationSlots) return false;
  const PublicationRecord& record = records_[publication.slot];
  return publication.followable() &&
         record.generation.load(std::memory_order_relaxed) ==
             publication.generation &&
         record.phase.load(std::memory_order_relaxed) !=
             static_cast<uint32_t>(PublicationPhase::kEnded);
}

bool PublicationDirectory::IsOpen(PublicationRef publication) const {
  return Has(publication) &&
         records_[publication.slot].phase.load(std::memory_order_relaxed) ==
             static_cast<uint32_t>(PublicationPhase::kOpen);
}

}  // namespace kvferry::core
