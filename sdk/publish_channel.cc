#include "sdk/publish_channel.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/limits.h"

namespace kvferry::sdk {

using protocol::kBlocksPerRunMax;
using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::ReplyRecord;
using protocol::ReplyType;
using protocol::SubmitRecord;
using protocol::SubmitType;

namespace {

// A dead daemon is noticed at least this often by a waiting thread.
constexpr absl::Duration kWaitStep = absl::Milliseconds(100);
// Room in the submission ring is not announced by anything.
constexpr absl::Duration kRoomStep = absl::Milliseconds(1);
constexpr uint32_t kBlocksPerReturn = 12;

SubmitRecord MakeRecord(SubmitType type, uint32_t handle) {
  SubmitRecord record{};
  record.type = static_cast<uint8_t>(type);
  record.handle = handle;
  return record;
}

uint64_t AllSlices(std::span<const protocol::GroupRecord> groups) {
  uint64_t all = 0;
  for (const protocol::GroupRecord& group : groups) {
    all |= group.slice_count >= 64 ? ~uint64_t{0}
                                   : (uint64_t{1} << group.slice_count) - 1;
  }
  return all;
}

std::vector<protocol::GroupRecord> GroupsOf(
    const protocol::IndexHeader& index) {
  return {index.groups, index.groups + index.group_count};
}

}  // namespace

PublishChannel::PublishChannel(const SessionMemory& memory,
                               const Options& options)
    : options_(options),
      memory_(memory),
      groups_(GroupsOf(*memory.index)),
      all_slices_(AllSlices(groups_)),
      submissions_(memory, options.doorbell_fd),
      replies_(memory),
      grants_(static_cast<uint32_t>(groups_.size())) {}

absl::Status PublishChannel::Unavailable() const {
  return absl::UnavailableError(
      "publish: the daemon is away; open a new publication when it is back");
}

template <typename Done>
absl::Status PublishChannel::WaitUntil(Done done, bool for_room,
                                       absl::Time deadline) {
  for (;;) {
    Pump();
    if (void_) return Unavailable();
    if (done()) return absl::OkStatus();
    if (memory_.daemon->revoked.load(std::memory_order_acquire) != 0) {
      return absl::UnavailableError(
          "publish: the daemon has closed this session");
    }
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          "publish: the daemon did not answer in time");
    }
    const uint64_t consumed = replies_.consumed();
    const absl::Duration wait =
        std::min({left, kWaitStep,
                  deferred_.empty() && !for_room ? kWaitStep : kRoomStep});
    mutex_.Unlock();
    ReplyRing::Wait(memory_, consumed, options_.spin, wait);
    mutex_.Lock();
  }
}

// --- sending -------------------------------------------------------------

absl::Status PublishChannel::Post(std::span<const SubmitRecord> run,
                                  absl::Time deadline) {
  if (void_) return Unavailable();
  FlushDeferred();
  if (!deferred_.empty() || submissions_.Room() < run.size()) {
    KVFERRY_RETURN_IF_ERROR(WaitUntil(
        [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
          return deferred_.empty() && submissions_.Room() >= run.size();
        },
        /*for_room=*/true, deadline));
  }
  submissions_.Push(run);
  return absl::OkStatus();
}

void PublishChannel::Defer(const SubmitRecord& record) {
  if (void_) return;
  deferred_.push_back(record);
  FlushDeferred();
  if (!deferred_.empty()) AskForService();
}

void PublishChannel::FlushDeferred() {
  while (!deferred_.empty() && submissions_.Room() > 0) {
    const SubmitRecord record = deferred_.front();
    deferred_.pop_front();
    submissions_.Push({&record, 1});
    if (record.type == static_cast<uint8_t>(SubmitType::kClose)) {
      const auto found = records_.find(record.handle);
      if (found == records_.end()) continue;
      found->second->close_posted = true;
      found->second->close_position = submissions_.tail();
    }
  }
}

void PublishChannel::AskForService() {
  if (options_.service_fd < 0) return;
  const uint64_t one = 1;
  (void)!::write(options_.service_fd, &one, sizeof(one));
}

// --- receiving -----------------------------------------------------------

void PublishChannel::Pump() {
  if (void_) return;
  if (!deferred_.empty()) FlushDeferred();
  // Read first: the answers of everything consumed by now are in the ring.
  const uint64_t consumed = submissions_.consumed();
  ReplyRecord reply;
  bool any = false;
  while (replies_.Pop(&reply)) {
    any = true;
    Take(reply);
  }
  if (any) {
    replies_.Release();
    // The daemon may have stopped for want of room to answer.
    if (submissions_.consumed() != submissions_.tail()) {
      submissions_.RingIfAsleep();
    }
  }
  ReapClosed(consumed);
}

void PublishChannel::Take(const ReplyRecord& reply) {
  if (reply.group >= groups_.size()) return;
  switch (static_cast<ReplyType>(reply.type)) {
    case ReplyType::kAnswer:
    case ReplyType::kAnswerBlocks:
      TakeAnswer(reply);
      break;
    case ReplyType::kGrant: {
      const protocol::GroupRecord& group = groups_[reply.group];
      const uint32_t count = std::min(reply.count, protocol::kBlocksPerReply);
      for (uint32_t i = 0; i < count; ++i) {
        if (reply.blocks[i] - group.first_block >= group.block_count) continue;
        grants_.Put(reply.group, reply.blocks[i]);
      }
      break;
    }
    case ReplyType::kRecall:
      GiveBack(reply.group, reply.count);
      break;
  }
}

void PublishChannel::TakeAnswer(const ReplyRecord& reply) {
  const auto found = records_.find(reply.handle);
  if (found == records_.end()) return;
  PublicationRecord& record = *found->second;
  const bool chosen =
      reply.type == static_cast<uint8_t>(ReplyType::kAnswerBlocks);
  const uint32_t count = chosen
                             ? std::min(reply.count, protocol::kBlocksPerReply)
                             : std::min(reply.count, kBlocksPerRunMax);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t position = reply.first + i;
    if (position >= record.size()) return;
    uint32_t block = kNoBlock;
    if (chosen) {
      block = reply.blocks[i];
      const protocol::GroupRecord& group =
          groups_[record.entry(position).group];
      if (block - group.first_block >= group.block_count) block = kNoBlock;
    }
    record.Answer(position, static_cast<PublishAnswer>(reply.answer), block,
                  &grants_);
  }
}

void PublishChannel::GiveBack(uint32_t group, uint32_t count) {
  count = std::min(count, grants_.count(group));
  while (count > 0) {
    SubmitRecord record = MakeRecord(SubmitType::kReturn, 0);
    record.group = static_cast<uint8_t>(group);
    record.give_back.count = std::min(count, kBlocksPerReturn);
    for (uint32_t i = 0; i < record.give_back.count; ++i) {
      record.give_back.blocks[i] = grants_.Take(group);
    }
    count -= record.give_back.count;
    Defer(record);
  }
}

void PublishChannel::ReapClosed(uint64_t consumed) {
  while (!closing_.empty()) {
    PublicationRecord* record = closing_.front();
    if (!record->close_posted || consumed < record->close_position ||
        record->unanswered_begins() != 0) {
      return;
    }
    closing_.pop_front();
    records_.erase(record->handle());
  }
}

void PublishChannel::Service() {
  MutexLock lock(&mutex_);
  Pump();
}

bool PublishChannel::NeedsService() {
  MutexLock lock(&mutex_);
  return !void_ &&
         (!deferred_.empty() || submissions_.consumed() != submissions_.tail());
}

void PublishChannel::MakeVoid() {
  MutexLock lock(&mutex_);
  Pump();
  void_ = true;
  deferred_.clear();
  for (auto& [handle, record] : records_) record->MakeVoid();
  closing_.clear();
  absl::erase_if(records_,
                 [](const auto& entry) { return entry.second->abandoned; });
  replies_.Wake();
}

uint32_t PublishChannel::granted(uint32_t group) {
  MutexLock lock(&mutex_);
  Pump();
  return grants_.count(group);
}

// --- publications --------------------------------------------------------

absl::StatusOr<PublicationRecord*> PublishChannel::Open(
    uint64_t engine_instance, uint64_t publication, uint64_t slice_set,
    absl::Time deadline) {
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
  SubmitRecord record = MakeRecord(SubmitType::kOpen, handle);
  record.open.engine_instance = engine_instance;
  record.open.publication = publication;
  record.open.slice_set = slice_set;
  // Entered before Post, which may let go of the mutex: nobody else shall take
  // the number, nor the place below the limit.
  auto owned = std::make_unique<PublicationRecord>(
      handle, slice_set, (slice_set & all_slices_) == all_slices_);
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

absl::StatusOr<uint32_t> PublishChannel::Begin(PublicationRecord* record,
                                               uint32_t group,
                                               const BlockKey& parent,
                                               std::span<const BlockKey> keys,
                                               std::span<const uint8_t> ready,
                                               absl::Time deadline) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_) return Unavailable();
  if (record->closed) {
    return absl::FailedPreconditionError("begin: the publication is closed");
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

  // Slices that other ranks write too must get the same answer everywhere, so
  // only the daemon decides about those.
  const bool whole = record->whole();
  entry_count_ += count;  // reserved: Post may let go of the mutex
  for (uint32_t done = 0; done < count;) {
    const uint32_t run_count = std::min(count - done, kBlocksPerRunMax);
    run_.clear();
    SubmitRecord head = MakeRecord(SubmitType::kBegin, record->handle());
    head.group = static_cast<uint8_t>(group);
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
      } else if (whole && grants_.count(group) > 0) {
        block = grants_.Take(group);
      }
      SubmitRecord line = MakeRecord(SubmitType::kBeginBlock, record->handle());
      line.group = static_cast<uint8_t>(group);
      line.begin_block.key_lo = keys[i].lo;
      line.begin_block.key_hi = keys[i].hi;
      line.begin_block.block = block;
      run_.push_back(line);
      record->Append(group, block);
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
    done += run_count;
  }
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
  // Answers that nobody comes for must not fill the reply ring.
  if (submissions_.Room() < protocol::kRingRecords / 2) AskForService();
  return absl::OkStatus();
}

void PublishChannel::EndRange(PublicationRecord* record, uint32_t first,
                              uint32_t count, SubmitType type) {
  const bool commit = type == SubmitType::kCommit;
  const uint32_t end = first + count;
  for (uint32_t p = first; p < end;) {
    SubmitRecord range = MakeRecord(type, record->handle());
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
    Defer(range);
  }
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
}

absl::Status PublishChannel::Flush(absl::Time deadline) {
  MutexLock lock(&mutex_);
  return WaitUntil(
      [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return deferred_.empty() &&
               submissions_.consumed() == submissions_.tail();
      },
      /*for_room=*/true, deadline);
}

void PublishChannel::Abort(PublicationRecord* record) {
  MutexLock lock(&mutex_);
  Pump();
  if (void_ || record->closed) return;
  EndRange(record, 0, record->size(), SubmitType::kAbort);
}

void PublishChannel::CloseRecord(PublicationRecord* record) {
  if (record->closed) return;
  record->closed = true;
  record->EndAll(&grants_);
  --open_count_;
  entry_count_ -= record->size();
  Defer(MakeRecord(SubmitType::kClose, record->handle()));
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
