#include "sdk/publication_record.h"

#include "sdk/grant_pool.h"

namespace kvferry::sdk {

using protocol::kNoBlock;
using protocol::PublishAnswer;

void PublicationRecord::Append(uint32_t group, uint32_t block) {
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
    entry.outcome = BlockOutcome::kWriting;
  }
  ++unanswered_begins_;
  entries_.push_back(entry);
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
  const bool writing = entry.outcome == BlockOutcome::kWriting;
  entry.app_done = true;
  ReturnOffered(&entry, grants);
  if (!writing) return false;
  if (!commit) entry.outcome = BlockOutcome::kVoid;
  entry.range_sent = true;
  ++unanswered_ranges_;
  return true;
}

void PublicationRecord::EndAll(GrantPool* grants) {
  for (PublicationEntry& entry : entries_) {
    entry.app_done = true;
    if (entry.outcome == BlockOutcome::kWriting && !entry.range_sent) {
      entry.outcome = BlockOutcome::kVoid;
    }
    ReturnOffered(&entry, grants);
  }
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

void PublicationRecord::AnswerBegin(PublicationEntry* entry,
                                    PublishAnswer answer, uint32_t block) {
  entry->begin_answered = true;
  --unanswered_begins_;
  if (entry->awaits_block) {
    entry->awaits_block = false;
    --awaiting_;
    if (answer == PublishAnswer::kYours && block != kNoBlock) {
      entry->block = block;
      // Its caller may have given up waiting; then nobody will write it.
      entry->outcome =
          entry->app_done ? BlockOutcome::kVoid : BlockOutcome::kWriting;
      return;
    }
  } else if (answer == PublishAnswer::kYours) {
    if (block == kNoBlock || block == entry->offered) {
      entry->offered = kNoBlock;  // the publication's now
      return;
    }
    // The daemon has the position written in another block than the one that
    // the application may have filled by now: that writing counts for nothing,
    // and must never be committed.
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
                               uint32_t block, GrantPool* grants) {
  if (position >= entries_.size()) return;
  PublicationEntry& entry = entries_[position];
  if (!entry.begin_answered) {
    AnswerBegin(&entry, answer, block);
    ReturnOffered(&entry, grants);
    return;
  }
  if (!entry.range_sent || entry.range_answered) return;
  entry.range_answered = true;
  --unanswered_ranges_;
  // Positions that the begin's answer has turned into something else keep it.
  if (entry.outcome != BlockOutcome::kWriting) return;
  entry.outcome = answer == PublishAnswer::kCommitted ? BlockOutcome::kCommitted
                  : answer == PublishAnswer::kExists  ? BlockOutcome::kExists
                                                      : BlockOutcome::kVoid;
}

void PublicationRecord::MakeVoid() {
  for (PublicationEntry& entry : entries_) {
    if (entry.outcome == BlockOutcome::kWriting || entry.awaits_block) {
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
