#include "sdk/publish_channel.h"

#include <unistd.h>

#include <algorithm>

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
      pools_(*memory.index),
      submissions_(memory, options.doorbell_fd),
      replies_(memory),
      grants_(static_cast<uint32_t>(groups_.size()), pools_) {}

absl::Status PublishChannel::Unavailable() {
  return absl::UnavailableError(
      "publish: the daemon is away; open a new publication when it is back");
}

absl::Status PublishChannel::WaitUntil(absl::FunctionRef<bool()> done,
                                       bool for_room, absl::Time deadline) {
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
      const uint32_t count = std::min(reply.count, protocol::kBlocksPerReply);
      for (uint32_t i = 0; i < count; ++i) {
        if (!IsBlockOf(reply.group, reply.pool, reply.blocks[i])) continue;
        grants_.Put(reply.group, reply.blocks[i]);
      }
      break;
    }
    case ReplyType::kRecall:
      if (reply.pool != 0 && !pools_.IsPoolOf(reply.pool, reply.group)) break;
      GiveBack(reply.group, reply.pool, reply.count);
      break;
    case ReplyType::kOpened:
      TakeOpened(reply);
      break;
  }
}

bool PublishChannel::IsBlockOf(uint32_t group, uint32_t pool,
                               uint32_t block) const {
  if (pool != 0) {
    return pools_.IsPoolOf(pool, group) && pools_.PoolOf(block) == pool;
  }
  return block - groups_[group].first_block < groups_[group].block_count;
}

void PublishChannel::TakeOpened(const ReplyRecord& reply) {
  const auto found = records_.find(reply.handle);
  if (found == records_.end() || found->second->opened) return;
  PublicationRecord& record = *found->second;
  record.opened = true;
  const uint32_t generation = reply.count;
  const uint32_t index = reply.blocks[0];
  // Once the close is sent the progress record may be another handle's.
  if (record.closed || generation == 0 || memory_.progress == nullptr ||
      index >= protocol::kProgressRecords) {
    return;
  }
  record.progress.Open(memory_.progress, index, generation);
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
    if (position >= record.size()) break;
    uint32_t block = kNoBlock;
    uint32_t pool = 0;
    if (chosen) {
      // In whichever pool the entry has its block, or has spilled to.
      block = reply.blocks[i];
      pool = pools_.PoolOf(block);
      if (!IsBlockOf(record.entry(position).group, pool, block)) {
        block = kNoBlock;
      }
    }
    record.Answer(position, static_cast<PublishAnswer>(reply.answer), block,
                  &grants_, pool);
  }
  record.progress.Advance(record.positions());
}

void PublishChannel::GiveBack(uint32_t group, uint32_t pool, uint32_t count) {
  count = std::min(count, grants_.count(group, pool));
  while (count > 0) {
    SubmitRecord record = MakeSubmitRecord(SubmitType::kReturn, 0);
    record.group = static_cast<uint8_t>(group);
    record.pool = static_cast<uint8_t>(pool);
    record.give_back.count = std::min(count, kBlocksPerReturn);
    for (uint32_t i = 0; i < record.give_back.count; ++i) {
      record.give_back.blocks[i] = grants_.Take(group, pool);
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

absl::Status PublishChannel::Flush(absl::Time deadline) {
  MutexLock lock(&mutex_);
  return WaitUntil(
      [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return deferred_.empty() &&
               submissions_.consumed() == submissions_.tail();
      },
      /*for_room=*/true, deadline);
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
  for (auto& [handle, record] : records_) {
    record->MakeVoid();
    record->progress.GiveUp();
  }
  closing_.clear();
  std::erase_if(records_,
                [](const auto& entry) { return entry.second->abandoned; });
  replies_.Wake();
}

uint32_t PublishChannel::granted(uint32_t group, uint32_t pool) {
  MutexLock lock(&mutex_);
  Pump();
  return grants_.count(group, pool);
}

}  // namespace kvferry::sdk
