#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/control/gpu_device.h"

// What a device's worker is asked for, one thing at a time: the pools of the
// namespaces, then the host segments that it copies from and to.
namespace kvferry::control {
namespace {

namespace wire = protocol::worker;

// An engine may leave memory, or a driver may learn to export it.
constexpr uint64_t kPoolRetryMs = 30 * 1000;
constexpr size_t kHandleBytesMax = 256;

wire::ExportMode ModeOf(config::GpuExport mode) {
  switch (mode) {
    case config::GpuExport::kAuto:
      return wire::ExportMode::Auto;
    case config::GpuExport::kVmm:
      return wire::ExportMode::Vmm;
    case config::GpuExport::kIpc:
      return wire::ExportMode::Ipc;
  }
  return wire::ExportMode::Auto;
}

// Empty: that is how memory is passed on.
std::string WhatIsWrong(const wire::PoolMadeT& made, size_t fds,
                        uint64_t bytes) {
  const bool descriptor = made.export_ == wire::Export::Descriptor;
  const bool handle = made.export_ == wire::Export::Handle;
  if (!descriptor && !handle) return "no way to import it";
  if (fds != (descriptor ? 1u : 0u)) {
    return absl::StrCat(fds, " descriptors beside it");
  }
  if (handle == made.handle.empty() || made.handle.size() > kHandleBytesMax) {
    return absl::StrCat("a handle of ", made.handle.size(),
                        " bytes, the limit is ", kHandleBytesMax);
  }
  if (made.bytes < bytes) {
    return absl::StrCat(made.bytes, " bytes, ", bytes, " were asked for");
  }
  return "";
}

}  // namespace

void GpuDevice::AddHost(NamespaceHost* host, uint64_t now_ms) {
  const std::vector<protocol::GpuPoolPlan>& plans = host->geometry().gpu_pools;
  bool has_pool = false;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (plans[i].device != number_) continue;
    GpuPoolMemory memory;
    memory.host = host;
    memory.pool = static_cast<uint32_t>(i + 1);
    memory.bytes = plans[i].bytes;
    pools_.push_back(std::move(memory));
    has_pool = true;
  }
  if (!has_pool) return;
  hosts_.push_back(host);
  AskNext(now_ms);
}

void GpuDevice::AddSegment(const NamespaceHost& host,
                           const memory::Segment& segment, uint64_t now_ms) {
  if (std::find(hosts_.begin(), hosts_.end(), &host) == hosts_.end()) return;
  SegmentUse use;
  use.host = &host;
  use.segment = &segment;
  segments_.push_back(use);
  AskNext(now_ms);
}

void GpuDevice::AskNext(uint64_t now_ms) {
  if (request_.has_value() ||
      supervisor_.state() != worker::Supervisor::State::kServing) {
    return;
  }
  const auto pool = std::find_if(
      pools_.begin(), pools_.end(), [&](const GpuPoolMemory& memory) {
        return memory.state == GpuPoolMemory::State::kNone &&
               now_ms >= memory.retry_at_ms;
      });
  const auto segment = std::find_if(
      segments_.begin(), segments_.end(), [](const SegmentUse& use) {
        return use.state == SegmentUse::State::kNew;
      });
  absl::Status asked;
  if (pool != pools_.end()) {
    asked = AskForPool(static_cast<size_t>(pool - pools_.begin()), now_ms);
  } else if (segment != segments_.end()) {
    asked =
        AskForSegment(static_cast<size_t>(segment - segments_.begin()), now_ms);
  }
  if (!asked.ok()) GiveUp(asked.message(), now_ms);
}

absl::Status GpuDevice::AskForPool(size_t index, uint64_t now_ms) {
  GpuPoolMemory& memory = pools_[index];
  memory.id = ++last_id_;
  memory.state = GpuPoolMemory::State::kAsked;
  request_ = Request{/*of_pool=*/true, index, now_ms};
  wire::MakePoolT make;
  make.pool_id = memory.id;
  make.bytes = memory.bytes;
  make.mode = ModeOf(config_.gpu_export);
  return link_->Send(std::move(make));
}

absl::Status GpuDevice::AskForSegment(size_t index, uint64_t now_ms) {
  SegmentUse& use = segments_[index];
  use.id = ++last_id_;
  use.state = SegmentUse::State::kAsked;
  request_ = Request{/*of_pool=*/false, index, now_ms};
  wire::AddSegmentT add;
  add.segment_id = use.id;
  add.bytes = use.segment->bytes();
  const int fd = use.segment->writer_fd();
  return link_->Send(std::move(add), std::span(&fd, 1));
}

absl::Status GpuDevice::HandlePoolMade(const wire::PoolMadeT& made,
                                       std::vector<UniqueFd> fds,
                                       uint64_t now_ms) {
  if (!request_.has_value() || !request_->of_pool ||
      pools_[request_->index].id != made.pool_id) {
    return absl::InvalidArgumentError(absl::StrCat(
        "it made pool ", made.pool_id, ", which is not asked for"));
  }
  GpuPoolMemory& memory = pools_[request_->index];
  request_.reset();
  const std::string where =
      absl::StrCat("pool ", memory.pool, " of namespace \"",
                   memory.host->entry().spec.name, "\"");
  if (!made.error.empty()) {
    memory.state = GpuPoolMemory::State::kNone;
    memory.retry_at_ms = now_ms + kPoolRetryMs;
    if (memory.reason != made.error) {
      spdlog::warn("GPU {}: no {}: {}", protocol::FormatGpuName(name_), where,
                   made.error);
    }
    memory.reason = made.error;
    observer_.OnGpuPoolChanged(*memory.host, memory.pool);
    AskNext(now_ms);
    return absl::OkStatus();
  }
  if (const std::string wrong = WhatIsWrong(made, fds.size(), memory.bytes);
      !wrong.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("it made ", where, " with ", wrong));
  }
  memory.state = GpuPoolMemory::State::kMade;
  memory.reason.clear();
  memory.export_kind = made.export_ == wire::Export::Descriptor
                           ? protocol::wire::GpuExport::Descriptor
                           : protocol::wire::GpuExport::Handle;
  if (!fds.empty()) memory.fd = std::move(fds[0]);
  memory.handle = made.handle;
  memory.host->core().PoolUp(memory.pool, now_ms);
  spdlog::info("GPU {}: {}, {} bytes, passed on by {}",
               protocol::FormatGpuName(name_), where, memory.bytes,
               memory.fd.valid() ? "descriptor" : "handle");
  observer_.OnGpuPoolChanged(*memory.host, memory.pool);
  AskNext(now_ms);
  return absl::OkStatus();
}

absl::Status GpuDevice::HandleSegmentAdded(const wire::SegmentAddedT& added,
                                           uint64_t now_ms) {
  if (!request_.has_value() || request_->of_pool ||
      segments_[request_->index].id != added.segment_id) {
    return absl::InvalidArgumentError(absl::StrCat(
        "it added segment ", added.segment_id, ", which is not asked for"));
  }
  SegmentUse& use = segments_[request_->index];
  request_.reset();
  const bool known = added.error.empty();
  use.state = known ? SegmentUse::State::kKnown : SegmentUse::State::kRefused;
  const std::string& note = known ? added.note : added.error;
  if (!note.empty() && note != segment_note_) {
    spdlog::warn("GPU {}: segment {} of namespace \"{}\": {}",
                 protocol::FormatGpuName(name_), use.segment->plan().segment,
                 use.host->entry().spec.name, note);
    segment_note_ = note;
  }
  AskNext(now_ms);
  GiveOrders(now_ms);
  return absl::OkStatus();
}

GpuPoolMemory* GpuDevice::FindPool(const NamespaceHost& host, uint32_t pool) {
  for (GpuPoolMemory& memory : pools_) {
    if (memory.host == &host && memory.pool == pool) return &memory;
  }
  return nullptr;
}

std::string GpuDevice::ReasonAgainst(const GpuPoolMemory& memory) const {
  if (memory.state == GpuPoolMemory::State::kMade) return "";
  if (!memory.reason.empty()) return memory.reason;
  switch (supervisor_.state()) {
    case worker::Supervisor::State::kStarting:
      return "its worker is starting";
    case worker::Supervisor::State::kServing:
      return "it is being made";
    case worker::Supervisor::State::kBackoff:
    case worker::Supervisor::State::kEnding:
    case worker::Supervisor::State::kUnusable:
      break;
  }
  return supervisor_.reason().empty()
             ? "there is no worker yet"
             : absl::StrCat("there is no worker: ", supervisor_.reason());
}

}  // namespace kvferry::control
