// What is done with one publication: the calls of PublishChannel that take a
// PublicationRecord, and Open, which makes one.

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/limits.h"
#include "sdk/publish_channel.h"

namespace kvferry::sdk {

using protocol::kBlocksPerRunMax;
using protocol::kNoBlock;
using protocol::SubmitRecord;
using protocol::SubmitType;

absl::StatusOr<PublicationRecord*> PublishChannel::Open(
    const OpenRequest& request, absl::Time deadline) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_) return Unavailable();
  if (open_count_ >= protocol::kPublicationsPerSessionMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "publish: ", open_count_, " publications are open, the limit is ",
        protocol::kPublicationsPerSessionMax));
  }
  // Numbers come round after four thousand million publications; those still
  // in use are stepped over.
  while (records_.contains(next_handle_)) ++next_handle_;
  const uint32_t handle = next_handle_++;
  SubmitRecord record = MakeSubmitRecord(SubmitType::kOpen, handle);
  record.open.engine_instance = request.engine_instance;
  record.open.publication = request.publication;
  record.open.slice_set = request.slice_set;
  record.open.stall_ms = request.stall_ms;
  record.open.flags = request.standby ? protocol::kOpenStandby : 0;
  // Entered before Post, which may let go of the mutex: nobody else shall take
  // the number, nor the place below the limit.
  auto owned = std::make_unique<PublicationRecord>(
      handle, request.slice_set,
      (request.slice_set & all_slices_) == all_slices_);
  PublicationRecord* const opened = owned.get();
  records_[handle] = std::move(owned);
  ++open_count_;
  if (absl::Status posted = Post({&record, 1}, deadline); !posted.ok()) {
    records_.erase(handle);
    --open_count_;
    return posted;
  }
  return opened;
}

absl::Status PublishChannel::WaitForOpen(PublicationRecord* record,
                                         absl::Time deadline) {
  MutexLock lock(&mutex_);
  if (record->closed) {
    return absl::FailedPreconditionError("ticket: the publication is closed");
  }
  return WaitUntil([record] { return record->opened; }, /*for_room=*/false,
                   deadline);
}

absl::StatusOr<uint32_t> PublishChannel::Begin(
    PublicationRecord* record, uint32_t group, const BlockKey& parent,
    std::span<const BlockKey> keys, uint32_t tail_tokens,
    std::span<const uint8_t> ready, absl::Time deadline, uint32_t pool) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_) return Unavailable();
  if (record->closed) {
    return absl::FailedPreconditionError("begin: the publication is closed");
  }
  if (!parent.is_none() && group < record->tails.size() &&
      record->tails[group] == parent) {
    return absl::InvalidArgumentError(
        absl::StrCat("begin: the parent ", ToHex(parent),
                     " is a tail, after which nothing is chained"));
  }
  const auto count = static_cast<uint32_t>(keys.size());
  const uint32_t first = record->size();
  if (uint64_t{first} + count > protocol::kBlocksPerPublicationMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "begin: ", count, " blocks after ", first,
        ", a publication holds at most ", protocol::kBlocksPerPublicationMax));
  }
  if (uint64_t{entry_count_} + count > protocol::kEntriesPerSessionMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("begin: ", count, " blocks after ", entry_count_,
                     " in open publications, a session holds at most ",
                     protocol::kEntriesPerSessionMax, "; close some"));
  }

  // Before a reader can see any of it.
  record->progress.GoOn();

  // Slices that other ranks write too must get the same answer everywhere, so
  // only the daemon decides about those.
  const bool whole = record->whole();
  entry_count_ += count;  // reserved: Post may let go of the mutex
  for (uint32_t done = 0; done < count;) {
    const uint32_t run_count = std::min(count - done, kBlocksPerRunMax);
    run_.clear();
    SubmitRecord head = MakeSubmitRecord(SubmitType::kBegin, record->handle());
    head.group = static_cast<uint8_t>(group);
    head.pool = static_cast<uint8_t>(pool);
    head.begin.first = first + done;
    head.begin.count = run_count;
    const BlockKey& before = done == 0 ? parent : keys[done - 1];
    head.begin.parent_lo = before.lo;
    head.begin.parent_hi = before.hi;
    run_.push_back(head);
    for (uint32_t i = done; i < done + run_count; ++i) {
      uint32_t block = kNoBlock;
      if (whole && i < ready.size() && ready[i] != 0) {
        block = protocol::kAlreadyThere;
      } else if (whole && grants_.count(group, pool) > 0) {
        block = grants_.Take(group, pool);
      }
      SubmitRecord line =
          MakeSubmitRecord(SubmitType::kBeginBlock, record->handle());
      line.group = static_cast<uint8_t>(group);
      line.begin_block.key_lo = keys[i].lo;
      line.begin_block.key_hi = keys[i].hi;
      line.begin_block.block = block;
      if (i + 1 == count) line.begin_block.valid_tokens = tail_tokens;
      run_.push_back(line);
      record->Append(group, block, pool);
    }
    // Taken out while the mutex may be let go: run_ is everybody's.
    std::vector<SubmitRecord> run = std::move(run_);
    const absl::Status posted = Post(run, deadline);
    run_ = std::move(run);
    if (!posted.ok()) {
      if (void_) return posted;
      record->Truncate(first + done, &grants_);
      entry_count_ -= count - done;
      if (done > 0) CloseRecord(record);
      return posted;
    }
    record->MarkBegun();
    done += run_count;
  }
  if (tail_tokens != 0) {
    record->tails.resize(groups_.size());
    record->tails[group] = keys.back();
  }
  record->progress.Advance(record->positions());
  if (record->awaiting() == 0) return first;
  const absl::Status answered =
      WaitUntil([record] { return record->awaiting() == 0; },
                /*for_room=*/false, deadline);
  if (!answered.ok()) {
    if (!void_) CloseRecord(record);
    return answered;
  }
  return first;
}

PublicationEntry PublishChannel::Look(PublicationRecord* record,
                                      uint32_t position) {
  MutexLock lock(&mutex_);
  Pump();
  if (position >= record->size()) return {};
  return record->entry(position);
}

uint32_t PublishChannel::CountVisible(PublicationRecord* record, uint32_t first,
                                      uint32_t count) {
  MutexLock lock(&mutex_);
  Pump();
  uint32_t visible = 0;
  for (uint32_t p = first; p < first + count && p < record->size(); ++p) {
    const BlockOutcome outcome = record->entry(p).outcome;
    visible +=
        outcome == BlockOutcome::kCommitted || outcome == BlockOutcome::kExists;
  }
  return visible;
}

absl::Status PublishChannel::Commit(PublicationRecord* record, uint32_t first,
                                    uint32_t count) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_) return Unavailable();
  if (record->closed) {
    return absl::FailedPreconditionError("commit: the publication is closed");
  }
  EndRange(record, first, count, SubmitType::kCommit);
  record->progress.Advance(record->positions());
  SendRanges();
  // Answers that nobody comes for must not fill the reply ring.
  if (submissions_.Room() < protocol::kRingRecords / 2) AskForService();
  return absl::OkStatus();
}

void PublishChannel::EndRange(PublicationRecord* record, uint32_t first,
                              uint32_t count, SubmitType type) {
  ranges_.clear();
  const bool commit = type == SubmitType::kCommit;
  const uint32_t end = first + count;
  for (uint32_t p = first; p < end;) {
    SubmitRecord range = MakeSubmitRecord(type, record->handle());
    range.range.first = p;
    // Neighbours go in one record.
    while (p < end && p - range.range.first < kBlocksPerRunMax &&
           record->EndPosition(p, commit, &grants_)) {
      ++p;
    }
    range.range.count = p - range.range.first;
    if (range.range.count == 0) {
      ++p;
      continue;
    }
    range.group = record->entry(range.range.first).group;
    ranges_.push_back(range);
  }
}

void PublishChannel::SendRanges() {
  for (const SubmitRecord& range : ranges_) Defer(range);
}

absl::Status PublishChannel::CommitLayers(PublicationRecord* record,
                                          uint32_t first, uint32_t count,
                                          uint32_t layers) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_) return Unavailable();
  if (record->closed) {
    return absl::FailedPreconditionError(
        "commit layers: the publication is closed");
  }
  KVFERRY_ASSIGN_OR_RETURN(const uint32_t chunk_end,
                           record->TakeChunk(first, count));
  if (chunk_end > record->positions()) {
    record->progress.Layers(chunk_end, layers);
  }
  return absl::OkStatus();
}

absl::Status PublishChannel::SetHandOver(PublicationRecord* record,
                                         absl::string_view bytes,
                                         absl::Time deadline) {
  MutexLock lock(&mutex_);
  if (record->closed) {
    return absl::FailedPreconditionError(
        "hand-over: the publication is closed");
  }
  KVFERRY_RETURN_IF_ERROR(WaitUntil([record] { return record->opened; },
                                    /*for_room=*/false, deadline));
  if (!record->progress.open()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "hand-over: this publication cannot be followed, too many are open (",
        protocol::kPublicationSlots, " in a namespace, ",
        protocol::kProgressRecords,
        " in a session); a ticket can carry the data"));
  }
  record->progress.SetHandOver(bytes);
  return absl::OkStatus();
}

absl::Status PublishChannel::WaitForAnswers(PublicationRecord* record,
                                            absl::Time deadline) {
  MutexLock lock(&mutex_);
  return WaitUntil([record] { return record->unanswered_ranges() == 0; },
                   /*for_room=*/false, deadline);
}

void PublishChannel::AbortOne(PublicationRecord* record, uint32_t position) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_ || record->closed) return;
  EndRange(record, position, 1, SubmitType::kAbort);
  SendRanges();
}

void PublishChannel::Abort(PublicationRecord* record) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_ || record->closed) return;
  EndRange(record, 0, record->size(), SubmitType::kAbort);
  if (!ranges_.empty()) record->progress.GiveUp();
  SendRanges();
}

void PublishChannel::CloseRecord(PublicationRecord* record) {
  if (record->closed) return;
  record->closed = true;
  record->close_due = record->holds > 0;
  if (!record->close_due) SendClose(record);
}

void PublishChannel::SendClose(PublicationRecord* record) {
  if (record->EndAll(&grants_)) record->progress.GiveUp();
  record->progress.Close();
  --open_count_;
  entry_count_ -= record->size();
  Defer(MakeSubmitRecord(SubmitType::kClose, record->handle()));
}

void PublishChannel::Hold(PublicationRecord* record) {
  MutexLock lock(&mutex_);
  ++record->holds;
}

void PublishChannel::Unhold(PublicationRecord* record) {
  MutexLock lock(&mutex_);
  if (--record->holds > 0) return;
  if (record->close_due && !void_) SendClose(record);
  record->close_due = false;
  // Under the mutex: who waits may end the record, and the channel, after it.
  unheld_.NotifyAll();
}

bool PublishChannel::WaitForHolds(PublicationRecord* record,
                                  absl::Time deadline) {
  MutexLock lock(&mutex_);
  while (record->holds > 0) {
    if (absl::Now() >= deadline) return false;
    // By the system clock, whose waits sanitizers know.
    unheld_.WaitUntil(&mutex_, absl::ToChronoTime(std::min(
                                   deadline, absl::Now() + absl::Seconds(1))));
  }
  return true;
}

void PublishChannel::Close(PublicationRecord* record) {
  MutexLock lock(&mutex_);
  Pump();
  if (!void_) CloseRecord(record);
}

void PublishChannel::Abandon(PublicationRecord* record) {
  MutexLock lock(&mutex_);
  Pump();
  record->abandoned = true;
  if (void_) {
    records_.erase(record->handle());
    return;
  }
  CloseRecord(record);
  closing_.push_back(record);
}

}  // namespace kvferry::sdk
