#include "sdk/publication_record.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "sdk/grant_pool.h"

namespace kvferry::sdk {

using protocol::kNoBlock;
using protocol::PublishAnswer;

namespace {}  // namespace

void PublicationRecord::Append(uint32_t group, uint32_t block, uint32_t pool) {
  PublicationEntry entry;
  entry.group = static_cast<uint8_t>(group);
  if (block == protocol::kAlreadyThere) {
    entry.outcome = BlockOutcome::kExists;
  } else if (block == kNoBlock) {
    entry.awaits_block = true;
    ++awaiting_;
  } else {
    entry.block = block;
    entry.offered = block;
    entry.pool = static_cast<uint8_t>(pool);
    entry.outcome = BlockOutcome::kWriting;
  }
  ++unanswered_begins_;
  entries_.push_back(entry);
}

void PublicationRecord::MarkBegun() {
  begun_ = size();
  AdvancePositions();
}

void PublicationRecord::AdvancePositions() {
  const uint32_t end = std::min(begun_, given_up_from_);
  while (positions_ < end) {
    const PublicationEntry& entry = entries_[positions_];
    if (entry.awaits_block) return;
    if (IsWritten(entry.outcome) && !entry.range_sent) return;
    ++positions_;
  }
}

void PublicationRecord::GiveUpFrom(uint32_t position) {
  given_up_from_ = std::min(given_up_from_, position);
}

absl::StatusOr<uint32_t> PublicationRecord::TakeChunk(uint32_t first,
                                                      uint32_t count) {
  if (positions_ >= given_up_from_) return positions_;
  while (ended_ < positions_ && entries_[ended_].app_done) ++ended_;
  const uint32_t end = first + count;
  if (first > positions_ || first < ended_) {
    return absl::InvalidArgumentError(
        absl::StrCat("commit layers: a chunk from position ", first,
                     ", the next one begins at ", positions_));
  }
  if (chunk_end_ > positions_ && end != chunk_end_) {
    return absl::InvalidArgumentError(
        absl::StrCat("commit layers: a chunk up to position ", end,
                     ", it was said to end at ", chunk_end_));
  }
  if (end <= positions_) return positions_;
  chunk_end_ = end;
  return std::min(end, given_up_from_);
}

void PublicationRecord::Truncate(uint32_t size, GrantPool* grants) {
  while (entries_.size() > size) {
    PublicationEntry& entry = entries_.back();
    if (entry.awaits_block) --awaiting_;
    if (!entry.begin_answered) --unanswered_begins_;
    if (entry.offered != kNoBlock) grants->Put(entry.group, entry.offered);
    entries_.pop_back();
  }
}

bool PublicationRecord::EndPosition(uint32_t position, bool commit,
                                    GrantPool* grants) {
  PublicationEntry& entry = entries_[position];
  if (entry.range_sent) return false;
  entry.app_done = true;
  ReturnOffered(&entry, grants);
  if (!IsWritten(entry.outcome)) return false;
  if (!commit) {
    entry.outcome = BlockOutcome::kVoid;
    GiveUpFrom(position);
  }
  entry.range_sent = true;
  ++unanswered_ranges_;
  AdvancePositions();
  return true;
}

bool PublicationRecord::EndAll(GrantPool* grants) {
  bool gave_up = false;
  for (uint32_t p = 0; p < size(); ++p) {
    PublicationEntry& entry = entries_[p];
    entry.app_done = true;
    if (entry.awaits_block || (IsWritten(entry.outcome) && !entry.range_sent)) {
      entry.outcome = BlockOutcome::kVoid;
      GiveUpFrom(p);
      gave_up = true;
    }
    ReturnOffered(&entry, grants);
  }
  return gave_up;
}

void PublicationRecord::ReturnOffered(PublicationEntry* entry,
                                      GrantPool* grants) {
  if (entry->offered == kNoBlock || !entry->begin_answered ||
      !entry->app_done) {
    return;
  }
  grants->Put(entry->group, entry->offered);
  entry->offered = kNoBlock;
}

void PublicationRecord::AnswerBegin(uint32_t position, PublishAnswer answer,
                                    uint32_t block, uint32_t pool) {
  PublicationEntry* const entry = &entries_[position];
  entry->begin_answered = true;
  --unanswered_begins_;
  const bool ours =
      answer == PublishAnswer::kYours || answer == PublishAnswer::kStandby;
  const BlockOutcome written = answer == PublishAnswer::kStandby
                                   ? BlockOutcome::kStandby
                                   : BlockOutcome::kWriting;
  if (entry->awaits_block) {
    entry->awaits_block = false;
    --awaiting_;
    if (ours && block != kNoBlock && !entry->app_done) {
      entry->block = block;
      entry->pool = static_cast<uint8_t>(pool);
      entry->outcome = written;
      return;
    }
    // Its caller may have given up waiting: ours, and nobody will write it.
    if (ours) {
      GiveUpFrom(position);
      answer = PublishAnswer::kVoid;
    }
  } else if (ours) {
    if (block == kNoBlock || block == entry->offered) {
      entry->offered = kNoBlock;  // the publication's now
      if (entry->outcome == BlockOutcome::kWriting) entry->outcome = written;
      return;
    }
    // The daemon has the position written in another block than the one that
    // the application may have filled by now: that writing counts for nothing,
    // and must never be committed.
    GiveUpFrom(position);
    answer = PublishAnswer::kInFlight;
  }
  if (entry->outcome == BlockOutcome::kVoid && entry->app_done) return;
  entry->block = kNoBlock;
  switch (answer) {
    case PublishAnswer::kExists:
      entry->outcome = BlockOutcome::kExists;
      break;
    case PublishAnswer::kInFlight:
      entry->outcome = BlockOutcome::kInFlight;
      break;
    case PublishAnswer::kNoSpace:
      entry->outcome = BlockOutcome::kNoSpace;
      break;
    default:
      entry->outcome = BlockOutcome::kVoid;
      break;
  }
}

void PublicationRecord::Answer(uint32_t position, PublishAnswer answer,
                               uint32_t block, GrantPool* grants,
                               uint32_t pool) {
  if (position >= entries_.size()) return;
  PublicationEntry& entry = entries_[position];
  if (!entry.begin_answered) {
    AnswerBegin(position, answer, block, pool);
    ReturnOffered(&entry, grants);
    AdvancePositions();
    return;
  }
  if (!entry.range_sent || entry.range_answered) return;
  entry.range_answered = true;
  --unanswered_ranges_;
  // Positions that the begin's answer has turned into something else keep it.
  if (!IsWritten(entry.outcome)) return;
  entry.outcome = answer == PublishAnswer::kCommitted ? BlockOutcome::kCommitted
                  : answer == PublishAnswer::kExists  ? BlockOutcome::kExists
                                                      : BlockOutcome::kVoid;
}

void PublicationRecord::MakeVoid() {
  GiveUpFrom(positions_);
  for (PublicationEntry& entry : entries_) {
    if (IsWritten(entry.outcome) || entry.awaits_block) {
      entry.outcome = BlockOutcome::kVoid;
    }
    entry.awaits_block = false;
    entry.begin_answered = true;
    // The grant went with the daemon: never to be put back.
    entry.offered = kNoBlock;
    if (entry.range_sent) entry.range_answered = true;
  }
  awaiting_ = 0;
  unanswered_begins_ = 0;
  unanswered_ranges_ = 0;
}

}  // namespace kvferry::sdk
