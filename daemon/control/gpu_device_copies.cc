#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "daemon/control/gpu_device.h"

// The blocks that a device's worker copies: orders of the namespaces' cores out
// into its ring, completions back.
namespace kvferry::control {
namespace {

// Under way at once, apart from the ring's own limit: about as much as keeps a
// device busy, and little enough that the oldest copy is never old for want of
// its turn.
constexpr uint64_t kBytesUnderWayMax = uint64_t{256} << 20;
// Of one namespace before the next has its turn.
constexpr size_t kOrdersPerTurn = 16;

}  // namespace

bool GpuDevice::Ready() const {
  return link_ != nullptr && !distrusted_ && link_->rings().Ready();
}

void GpuDevice::SetAsleep(bool asleep) {
  if (link_ != nullptr) link_->rings().SetAsleep(asleep);
}

size_t GpuDevice::copies_waiting() const {
  size_t waiting = copies_.size() + held_.size();
  for (const NamespaceHost* host : hosts_) {
    waiting += host->core().copies_waiting(number_);
  }
  return waiting;
}

size_t GpuDevice::TakeCompletions(uint64_t now_ms) {
  if (link_ == nullptr || distrusted_) return 0;
  size_t taken = 0;
  std::vector<NamespaceHost*> touched;
  protocol::WorkerCompletion completion;
  while (taken < protocol::kWorkerRingRecords) {
    const absl::StatusOr<bool> more = link_->rings().Take(&completion);
    absl::Status handled = more.status();
    if (more.ok() && !*more) break;
    if (more.ok()) {
      ++taken;
      const auto found = copies_.find(completion.id);
      if (found != copies_.end()) touched.push_back(found->second.host);
      handled = Complete(completion, now_ms);
    }
    if (!handled.ok()) {
      GiveUp(handled.message(), now_ms);
      break;
    }
  }
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  for (NamespaceHost* host : touched) observer_.OnGpuWork(*host);
  return taken;
}

absl::Status GpuDevice::Complete(const protocol::WorkerCompletion& completion,
                                 uint64_t now_ms) {
  const auto found = copies_.find(completion.id);
  if (found == copies_.end() || completion.ok > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("it completed copy ", completion.id, " with ",
                     completion.ok, ", which is not under way"));
  }
  const CopyUnderWay copy = found->second;
  copies_.erase(found);
  bytes_under_way_ -= copy.bytes;
  const bool ok = completion.ok == 1;
  if (ok) {
    (copy.order.to_host ? counters_.bytes_to_host
                        : counters_.bytes_to_device) += copy.bytes;
  } else {
    ++counters_.copy_errors;
    if (!std::exchange(error_logged_, true)) {
      spdlog::warn(
          "GPU {}: a copy {} failed with code {}; further ones of this worker "
          "are counted, not logged",
          protocol::FormatGpuName(name_),
          copy.order.to_host ? "to the host" : "to the device",
          completion.error);
    }
  }
  copy.host->core().CopyDone(copy.order.id, ok, now_ms);
  return absl::OkStatus();
}

bool GpuDevice::HasRoom() const {
  return link_->rings().Room() > 0 && bytes_under_way_ < kBytesUnderWayMax;
}

void GpuDevice::GiveOrders(uint64_t now_ms) {
  if (link_ == nullptr ||
      supervisor_.state() != worker::Supervisor::State::kServing) {
    return;
  }
  for (size_t left = held_.size(); left > 0 && HasRoom(); --left) {
    const HeldOrder held = held_.front();
    held_.pop_front();
    if (!GiveOrder(held.host, held.order, now_ms)) held_.push_back(held);
  }
  std::vector<core::CopyOrder> orders;
  // Held orders count as room taken: they are the ring's next.
  const auto has_room = [&] {
    return HasRoom() && held_.size() < link_->rings().Room();
  };
  size_t without_any = 0;
  while (without_any < hosts_.size() && has_room()) {
    NamespaceHost* const host = hosts_[next_host_++ % hosts_.size()];
    orders.clear();
    host->core().TakeCopies(
        number_,
        std::min<size_t>(kOrdersPerTurn, link_->rings().Room() - held_.size()),
        &orders);
    without_any = orders.empty() ? without_any + 1 : 0;
    for (const core::CopyOrder& order : orders) {
      if (!GiveOrder(host, order, now_ms)) held_.push_back({host, order});
    }
  }
  link_->rings().Publish();
}

bool GpuDevice::GiveOrder(NamespaceHost* host, const core::CopyOrder& order,
                          uint64_t now_ms) {
  const SegmentUse* const use = FindSegment(*host, order.host_block);
  const GpuPoolMemory* const memory = FindPool(*host, order.pool);
  // The core orders copies between blocks that there are.
  KVFERRY_CHECK(use != nullptr && memory != nullptr &&
                memory->state == GpuPoolMemory::State::kMade);
  if (use->state == SegmentUse::State::kRefused) {
    ++counters_.copy_errors;
    host->core().CopyDone(order.id, /*ok=*/false, now_ms);
    observer_.OnGpuWork(*host);
    return true;
  }
  if (use->state != SegmentUse::State::kKnown) return false;
  const protocol::GpuPoolPlan& plan =
      host->geometry().gpu_pools[order.pool - 1];
  const protocol::GroupRecord& group = host->geometry().groups[plan.group];
  protocol::WorkerCommand command{};
  command.type = order.to_host ? protocol::WorkerCommandType::kCopyToHost
                               : protocol::WorkerCommandType::kCopyToDevice;
  command.id = ++last_id_;
  command.pool_id = memory->id;
  command.pool_offset =
      (order.gpu_block - plan.first_block) * group.stride_bytes;
  command.segment_id = use->id;
  command.segment_offset =
      (order.host_block - use->segment->plan().first_block) *
      group.stride_bytes;
  // Padding between blocks is nobody's.
  command.bytes = group.page_bytes * group.slice_count;
  link_->rings().Push(command);
  copies_[command.id] = {host, order, command.bytes, now_ms};
  bytes_under_way_ += command.bytes;
  return true;
}

const GpuDevice::SegmentUse* GpuDevice::FindSegment(const NamespaceHost& host,
                                                    uint32_t block) const {
  for (const SegmentUse& use : segments_) {
    const protocol::SegmentPlan& plan = use.segment->plan();
    // Wraps round for blocks before it.
    if (use.host == &host && block - plan.first_block < plan.block_count) {
      return &use;
    }
  }
  return nullptr;
}

}  // namespace kvferry::control
