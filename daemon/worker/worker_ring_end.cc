#include "daemon/worker/worker_ring_end.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::worker {
namespace {

constexpr uint64_t kMask = protocol::kWorkerRingRecords - 1;
constexpr size_t kDescriptors = 3;

}  // namespace

absl::StatusOr<WorkerRingEnd> WorkerRingEnd::Make(std::span<UniqueFd> fds) {
  if (fds.size() != kDescriptors) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rings: ", fds.size(), " descriptors, not ", kDescriptors));
  }
  WorkerRingEnd end;
  KVFERRY_ASSIGN_OR_RETURN(
      end.mapping_, Mapping::Map(fds[0].get(), protocol::kWorkerRingFileBytes,
                                 Mapping::Access::kReadWrite));
  const uint32_t version = end.header().version.load(std::memory_order_acquire);
  if (end.header().magic != protocol::kWorkerMagic ||
      version != protocol::kWorkerProtocolVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("rings: version ", version, ", this worker speaks ",
                     protocol::kWorkerProtocolVersion));
  }
  end.worker_doorbell_ = std::move(fds[1]);
  end.daemon_doorbell_ = std::move(fds[2]);
  return end;
}

absl::StatusOr<bool> WorkerRingEnd::Take(protocol::WorkerCommand* command) {
  // Pairs with the daemon's release after it wrote the records.
  const uint64_t tail = header().command_tail.load(std::memory_order_acquire);
  if (tail - command_consumed_ > protocol::kWorkerRingRecords) {
    return absl::InvalidArgumentError(
        absl::StrCat("command ring: tail ", tail, " with ", command_consumed_,
                     " records taken, the limit is ",
                     protocol::kWorkerRingRecords, " ahead"));
  }
  if (tail == command_consumed_) return false;
  std::memcpy(
      command,
      mapping_.At<protocol::WorkerCommand>(protocol::kWorkerCommandsOffset) +
          (command_consumed_ & kMask),
      sizeof(*command));
  ++command_consumed_;
  header().command_consumed.store(command_consumed_, std::memory_order_release);
  return true;
}

void WorkerRingEnd::Post(const protocol::WorkerCompletion& completion) {
  mapping_.At<protocol::WorkerCompletion>(
      protocol::kWorkerCompletionsOffset)[completion_tail_ & kMask] =
      completion;
  ++completion_tail_;
}

void WorkerRingEnd::Publish() {
  if (published_tail_ == completion_tail_) return;
  published_tail_ = completion_tail_;
  // Pairs with the daemon's acquire before it copies the records. Whatever the
  // copies wrote is before it, too.
  header().completion_tail.store(completion_tail_, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // INV-WORKER-1
  if (header().daemon_asleep.load(std::memory_order_relaxed) != 0) {
    const uint64_t one = 1;
    (void)!::write(daemon_doorbell_.get(), &one, sizeof(one));
  }
}

bool WorkerRingEnd::PrepareToSleep() {
  header().worker_asleep.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // INV-WORKER-1
  return header().command_tail.load(std::memory_order_acquire) ==
         command_consumed_;
}

void WorkerRingEnd::WakeUp() {
  header().worker_asleep.store(0, std::memory_order_relaxed);
  uint64_t rings = 0;
  (void)!::read(worker_doorbell_.get(), &rings, sizeof(rings));
}

}  // namespace kvferry::worker
