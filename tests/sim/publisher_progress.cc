// How a publisher tells how far it is: protocol::ProgressRecord, kept as the
// SDK has to keep it.

#include <algorithm>
#include <cstring>

#include "tests/sim/publisher.h"

namespace kvferry::sim {

using protocol::ProgressRecord;

uint32_t Publisher::Leading() const {
  uint32_t leading = 0;
  for (const Position& position : positions_) {
    if (position.aborted) break;
    if (!position.committed && position.begun != Begun::kElsewhere) break;
    ++leading;
  }
  return leading;
}

void Publisher::StoreWord() {
  if (generation_ == 0) return;
  const uint32_t leading = Leading();
  for (uint32_t p = 0; p < leading; ++p) positions_[p].passed = true;
  if (leading >= chunk_end_) layers_ = 0;
  progress_record().word.store(
      protocol::PackProgress({generation_, leading, layers_}));
  actions_.push_front({ActionType::kChanges});
}

void Publisher::LayerSome() {
  const uint32_t start = Leading();
  if (generation_ == 0 || layers_ != 0 || !actions_.empty() ||
      start == positions_.size()) {
    return;
  }
  const auto end = std::min(static_cast<uint32_t>(positions_.size()),
                            start + 1 + world_.Random(3));
  const uint64_t first_layer = Slices();
  for (uint32_t p = start; p < end; ++p) {
    const Position& position = positions_[p];
    const bool written = Mine(position) &&
                         (position.written & first_layer) == first_layer &&
                         Stands(position);
    const bool elsewhere =
        position.begun == Begun::kElsewhere && !position.aborted;
    if (!written && !elsewhere && !position.committed) return;
  }
  chunk_end_ = end;
  actions_.push_back({ActionType::kChunkEnd});
  actions_.push_back({ActionType::kWord});
}

void Publisher::SetHandOver() {
  if (generation_ == 0 || !hand_over_.empty() || !actions_.empty()) return;
  // Only under a word of this generation: the data belong to the word's.
  if (protocol::UnpackProgress(progress_record().word).generation !=
      generation_) {
    return;
  }
  hand_over_.resize(1 + world_.Random(protocol::kHandOverBytesMax));
  for (char& byte : hand_over_)
    byte = static_cast<char>(generation_ + session_);
  actions_.push_back({ActionType::kHandOverData});
  actions_.push_back({ActionType::kHandOverBytes});
}

void Publisher::Do(const Action& action) {
  if (action.type == ActionType::kSubmit) {
    submissions_.push_back({action.record});
    return;
  }
  if (generation_ == 0) return;
  ProgressRecord& record = progress_record();
  switch (action.type) {
    case ActionType::kWord:
      StoreWord();
      return;
    case ActionType::kChanges:
      record.changes.fetch_add(1);
      return;
    case ActionType::kChunkEnd:
      record.chunk_end.store(chunk_end_);
      layers_ = 1;
      return;
    case ActionType::kGiveUp:
      record.given_up.store(generation_);
      actions_.push_front({ActionType::kChanges});
      return;
    case ActionType::kHandOverData:
      std::memcpy(
          progress_->At<char>(protocol::kHandOverOffset +
                              uint64_t{record_} * protocol::kHandOverBytesMax),
          hand_over_.data(), hand_over_.size());
      return;
    case ActionType::kHandOverBytes:
      record.hand_over_bytes.store(static_cast<uint32_t>(hand_over_.size()));
      world_.HandOverSet(session_, handle_.handle, generation_, hand_over_);
      actions_.push_front({ActionType::kChanges});
      return;
    case ActionType::kSubmit:
      return;
  }
}

}  // namespace kvferry::sim
