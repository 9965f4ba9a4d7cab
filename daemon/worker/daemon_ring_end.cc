#include "daemon/worker/daemon_ring_end.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/memory/sealed_memfd.h"

namespace kvferry::worker {
namespace {

constexpr uint64_t kMask = protocol::kWorkerRingRecords - 1;

absl::StatusOr<UniqueFd> MakeDoorbell() {
  UniqueFd doorbell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!doorbell.valid()) return ErrnoStatus(errno, "eventfd");
  return doorbell;
}

}  // namespace

absl::StatusOr<DaemonRingEnd> DaemonRingEnd::Make() {
  DaemonRingEnd end;
  KVFERRY_ASSIGN_OR_RETURN(
      end.file_, memory::MakeSealedMemfd("kvferry-worker-rings",
                                         protocol::kWorkerRingFileBytes, 0600));
  KVFERRY_ASSIGN_OR_RETURN(end.worker_doorbell_, MakeDoorbell());
  KVFERRY_ASSIGN_OR_RETURN(end.daemon_doorbell_, MakeDoorbell());
  KVFERRY_ASSIGN_OR_RETURN(
      end.mapping_,
      Mapping::Map(end.file_.get(), protocol::kWorkerRingFileBytes,
                   Mapping::Access::kReadWrite));
  end.header().magic = protocol::kWorkerMagic;
  end.header().version.store(protocol::kWorkerProtocolVersion,
                             std::memory_order_release);
  return end;
}

void DaemonRingEnd::Push(const protocol::WorkerCommand& command) {
  mapping_.At<protocol::WorkerCommand>(
      protocol::kWorkerCommandsOffset)[command_tail_ & kMask] = command;
  ++command_tail_;
}

void DaemonRingEnd::Publish() {
  if (published_tail_ == command_tail_) return;
  published_tail_ = command_tail_;
  // Pairs with the worker's acquire before it copies the records.
  header().command_tail.store(command_tail_, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // INV-WORKER-1
  if (header().worker_asleep.load(std::memory_order_relaxed) != 0) {
    const uint64_t one = 1;
    (void)!::write(worker_doorbell_.get(), &one, sizeof(one));
  }
}

absl::StatusOr<bool> DaemonRingEnd::Take(
    protocol::WorkerCompletion* completion) {
  // Pairs with the worker's release after it wrote the records.
  const uint64_t tail =
      header().completion_tail.load(std::memory_order_acquire);
  // There are never more completions than commands. A tail that went backwards
  // is far ahead, too.
  if (tail - completion_consumed_ > published_tail_ - completion_consumed_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "its completion ring has tail ", tail, " with ", completion_consumed_,
        " records taken and ", published_tail_, " commands given"));
  }
  if (tail == completion_consumed_) return false;
  std::memcpy(completion,
              mapping_.At<protocol::WorkerCompletion>(
                  protocol::kWorkerCompletionsOffset) +
                  (completion_consumed_ & kMask),
              sizeof(*completion));
  ++completion_consumed_;
  // Release: the worker writes over the record after it has seen this.
  header().completion_consumed.store(completion_consumed_,
                                     std::memory_order_release);
  return true;
}

bool DaemonRingEnd::Ready() const {
  return header().completion_tail.load(std::memory_order_acquire) !=
         completion_consumed_;
}

void DaemonRingEnd::SetAsleep(bool asleep) {
  header().daemon_asleep.store(asleep ? 1 : 0, std::memory_order_relaxed);
}

}  // namespace kvferry::worker
