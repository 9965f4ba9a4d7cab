#include "daemon/control/session_rings.h"

#include <atomic>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "base/futex_wake.h"
#include "base/status.h"
#include "protocol/limits.h"

namespace kvferry::control {
namespace {

using protocol::kRingRecords;

constexpr uint64_t kMask = kRingRecords - 1;
constexpr uint32_t kRunRecordsMax = 1 + protocol::kBlocksPerRunMax;

}  // namespace

SessionRings::SessionRings(uint16_t session, const memory::SessionFiles& files)
    : session_(session),
      daemon_(*files.daemon_header()),
      replies_(files.reply_ring()),
      client_(*files.client_header()),
      submissions_(files.submit_ring()),
      run_(kRunRecordsMax) {}

uint32_t SessionRings::Room() const {
  return static_cast<uint32_t>(kRingRecords - (reply_tail_ - reply_consumed_));
}

absl::Status SessionRings::RefreshRoom() {
  // Pairs with the client's release after it copied the replies out.
  const uint64_t consumed =
      client_.reply_consumed.load(std::memory_order_acquire);
  // Backwards, or beyond what was written.
  if (consumed - reply_consumed_ > reply_tail_ - reply_consumed_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "reply ring: ", consumed, " records read, after ", reply_consumed_,
        " before and of ", reply_tail_, " written"));
  }
  reply_consumed_ = consumed;
  return absl::OkStatus();
}

void SessionRings::Push(const protocol::ReplyRecord& record) {
  replies_[reply_tail_ & kMask] = record;
  ++reply_tail_;
  daemon_.reply_tail.store(reply_tail_, std::memory_order_release);
}

bool SessionRings::Ready() const {
  const uint64_t tail = client_.submit_tail.load(std::memory_order_acquire);
  if (tail == submit_consumed_) return false;
  if (cut_short_ && tail == short_tail_) return false;
  // A guess from the client's word; Pump checks it.
  const uint64_t consumed =
      client_.reply_consumed.load(std::memory_order_relaxed);
  return kRingRecords - (reply_tail_ - consumed) >= room_needed_;
}

absl::Status SessionRings::CheckTail(uint64_t submit_tail) const {
  // A tail that went backwards is far ahead, too.
  const uint64_t ahead = submit_tail - submit_consumed_;
  if (ahead > kRingRecords) {
    return absl::InvalidArgumentError(absl::StrCat(
        "submission ring: tail ", submit_tail, " with ", submit_consumed_,
        " records taken, the limit is ", kRingRecords, " ahead"));
  }
  return absl::OkStatus();
}

void SessionRings::CopyRecord(uint64_t position,
                              protocol::SubmitRecord* record) const {
  std::memcpy(record, &submissions_[position & kMask], sizeof(*record));
}

absl::StatusOr<uint32_t> SessionRings::Pump(core::NamespaceCore& core,
                                            uint64_t now_ms,
                                            uint32_t runs_max) {
  // Pairs with the client's release after it wrote the records.
  const uint64_t tail = client_.submit_tail.load(std::memory_order_acquire);
  KVFERRY_RETURN_IF_ERROR(CheckTail(tail));
  // Grants are topped up only while there is plenty of room, so the core shall
  // know how much there is.
  KVFERRY_RETURN_IF_ERROR(RefreshRoom());
  const uint64_t consumed_before = submit_consumed_;
  uint32_t runs = 0;
  absl::Status status;
  cut_short_ = false;
  room_needed_ = 0;
  while (submit_consumed_ != tail && runs < runs_max) {
    CopyRecord(submit_consumed_, &run_[0]);
    if (run_[0].type == static_cast<uint8_t>(protocol::SubmitType::kBegin) &&
        run_[0].begin.count > protocol::kBlocksPerRunMax) {
      status = absl::InvalidArgumentError(
          absl::StrCat("submission ring: a run of ", run_[0].begin.count,
                       " blocks, the limit is ", protocol::kBlocksPerRunMax));
      break;
    }
    const uint32_t length = core::NamespaceCore::RunLength(run_[0]);
    if (length > tail - submit_consumed_) {
      cut_short_ = true;
      short_tail_ = tail;
      break;
    }
    const uint32_t replies_max = core::NamespaceCore::RepliesMax(run_[0]);
    if (Room() < replies_max) {
      status = RefreshRoom();
      if (!status.ok()) break;
    }
    if (Room() < replies_max) {
      room_needed_ = replies_max;
      break;
    }
    for (uint32_t i = 1; i < length; ++i) {
      CopyRecord(submit_consumed_ + i, &run_[i]);
    }
    status = core.Submit(session_, std::span(run_).first(length), now_ms);
    if (!status.ok()) break;
    submit_consumed_ += length;
    ++runs;
  }
  if (submit_consumed_ != consumed_before) {
    daemon_.submit_consumed.store(submit_consumed_, std::memory_order_release);
  }
  if (!status.ok()) return status;
  return runs;
}

void SessionRings::Flush() {
  if (reply_flushed_ == reply_tail_) return;
  reply_flushed_ = reply_tail_;
  daemon_.reply_futex.store(static_cast<uint32_t>(reply_tail_),
                            std::memory_order_release);
  // A waiter raises reply_waiters, fences, then looks at the futex word: it
  // sees the new one, or is seen here.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (client_.reply_waiters.load(std::memory_order_relaxed) != 0) {
    FutexWakeAll(&daemon_.reply_futex);
  }
}

void SessionRings::Revoke() {
  daemon_.revoked.store(1, std::memory_order_release);
  // Whoever waits for a reply shall see it.
  daemon_.reply_futex.store(static_cast<uint32_t>(reply_tail_) + 1,
                            std::memory_order_release);
  FutexWakeAll(&daemon_.reply_futex);
}

}  // namespace kvferry::control
