#include "daemon/control/gpu_device.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/config/size.h"

// A device's worker process: from its start to its end. What it is asked for:
// gpu_device_requests.cc; what it copies: gpu_device_copies.cc.
namespace kvferry::control {
namespace {

namespace wire = protocol::worker;

constexpr char kWorkerName[] = "kvferry-gpu";
constexpr int kMessagesPerTurnMax = 64;

}  // namespace

GpuDevice::GpuDevice(uint32_t number, const protocol::GpuName& name,
                     const config::Config& config, std::string directory,
                     Poller& poller, Observer& observer)
    : number_(number),
      name_(name),
      config_(config),
      directory_(std::move(directory)),
      poller_(poller),
      observer_(observer) {}

GpuDevice::~GpuDevice() { Unregister(); }

void GpuDevice::Stop() {
  if (link_ != nullptr) (void)link_->Send(wire::QuitT());
}

uint32_t GpuDevice::worker_pid() const {
  return link_ == nullptr ? 0 : static_cast<uint32_t>(link_->process().pid());
}

void GpuDevice::Tick(uint64_t now_ms) {
  // First: after a pause of this process a copy may look late that is done.
  (void)TakeCompletions(now_ms);
  switch (supervisor_.Due(now_ms, UnansweredSinceMs())) {
    case worker::Supervisor::Action::kNone:
      break;
    case worker::Supervisor::Action::kSpawn:
      Spawn(now_ms);
      break;
    case worker::Supervisor::Action::kKill:
      if (link_ != nullptr) link_->process().Kill();
      break;
  }
  AskNext(now_ms);
  LogNews(now_ms);
}

uint64_t GpuDevice::NextDueMs() const {
  uint64_t due_ms = supervisor_.NextDueMs(UnansweredSinceMs());
  if (supervisor_.state() == worker::Supervisor::State::kServing &&
      !request_.has_value()) {
    for (const GpuPoolMemory& memory : pools_) {
      if (memory.state == GpuPoolMemory::State::kNone) {
        due_ms = std::min(due_ms, memory.retry_at_ms);
      }
    }
  }
  return due_ms;
}

std::optional<uint64_t> GpuDevice::UnansweredSinceMs() const {
  std::optional<uint64_t> since_ms;
  if (request_.has_value()) since_ms = request_->since_ms;
  if (!copies_.empty()) {
    const uint64_t copying_since_ms = copies_.begin()->second.since_ms;
    since_ms = std::min(since_ms.value_or(copying_since_ms), copying_since_ms);
  }
  return since_ms;
}

void GpuDevice::Spawn(uint64_t now_ms) {
  const std::string program =
      worker::FindProgram(config_.gpu_worker, kWorkerName);
  absl::StatusOr<std::unique_ptr<worker::Link>> link = worker::Link::Start(
      program,
      {"--device", protocol::FormatGpuName(name_), "--directory", directory_});
  if (!link.ok()) {
    supervisor_.SpawnFailed(link.status().message(), now_ms);
    return TellAll();
  }
  link_ = *std::move(link);
  if (const absl::Status registered = Register(); !registered.ok()) {
    Unregister();
    link_.reset();
    supervisor_.SpawnFailed(registered.message(), now_ms);
    return TellAll();
  }
  supervisor_.Spawned(now_ms);
  error_logged_ = false;
  distrusted_ = false;
  spdlog::debug("GPU {}: {} started, pid {}", protocol::FormatGpuName(name_),
                program, worker_pid());
}

absl::Status GpuDevice::Register() {
  KVFERRY_RETURN_IF_ERROR(poller_.Add(link_->process().pidfd(),
                                      {SourceKind::kWorkerProcess, number_}));
  KVFERRY_RETURN_IF_ERROR(poller_.Add(link_->rings().daemon_doorbell_fd(),
                                      {SourceKind::kWorkerDoorbell, number_},
                                      EPOLLIN | EPOLLET));
  KVFERRY_RETURN_IF_ERROR(
      poller_.Add(link_->socket_fd(), {SourceKind::kWorkerSocket, number_}));
  socket_registered_ = true;
  return absl::OkStatus();
}

void GpuDevice::StopListening() {
  if (std::exchange(socket_registered_, false)) {
    poller_.Remove(link_->socket_fd());
  }
}

void GpuDevice::Unregister() {
  if (link_ == nullptr) return;
  StopListening();
  poller_.Remove(link_->rings().daemon_doorbell_fd());
  poller_.Remove(link_->process().pidfd());
}

void GpuDevice::HandleSocket(uint64_t now_ms) {
  for (int i = 0; link_ != nullptr && !distrusted_ && i < kMessagesPerTurnMax;
       ++i) {
    std::vector<UniqueFd> fds;
    const absl::StatusOr<wire::MessageT> message = link_->Receive(&fds);
    if (absl::IsNotFound(message.status())) return;
    if (absl::IsUnavailable(message.status())) {
      // Closed: its exit, which says more, is near, or its deadline is.
      StopListening();
      supervisor_.Closed(now_ms);
      return;
    }
    const absl::Status handled = message.ok()
                                     ? Handle(*message, std::move(fds), now_ms)
                                     : message.status();
    if (!handled.ok()) return GiveUp(handled.message(), now_ms);
  }
}

absl::Status GpuDevice::Handle(const wire::MessageT& message,
                               std::vector<UniqueFd> fds, uint64_t now_ms) {
  switch (message.body.type) {
    case wire::Body::Hello:
      return HandleHello(*message.body.AsHello(), now_ms);
    case wire::Body::Unusable: {
      const wire::UnusableT& unusable = *message.body.AsUnusable();
      supervisor_.SaidUnusable(unusable.reason, unusable.permanent, now_ms);
      return absl::OkStatus();
    }
    case wire::Body::PoolMade:
      return HandlePoolMade(*message.body.AsPoolMade(), std::move(fds), now_ms);
    case wire::Body::SegmentAdded:
      return HandleSegmentAdded(*message.body.AsSegmentAdded(), now_ms);
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("it sent ", wire::EnumNameBody(message.body.type),
                       ", which only daemons send"));
  }
}

absl::Status GpuDevice::HandleHello(const wire::HelloT& hello,
                                    uint64_t now_ms) {
  if (supervisor_.state() != worker::Supervisor::State::kStarting) {
    return absl::InvalidArgumentError("it said Hello twice");
  }
  if (hello.protocol_version != protocol::kWorkerProtocolVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("it speaks version ", hello.protocol_version,
                     ", the daemon ", protocol::kWorkerProtocolVersion));
  }
  if (!std::equal(hello.uuid.begin(), hello.uuid.end(), name_.uuid.begin(),
                  name_.uuid.end())) {
    return absl::InvalidArgumentError("it opened another device");
  }
  KVFERRY_RETURN_IF_ERROR(link_->SendRings());
  supervisor_.SaidHello(now_ms);
  hello_ = std::make_unique<wire::HelloT>(hello);
  spdlog::info("GPU {}: {}, {} with {} free, served by pid {}{}",
               protocol::FormatGpuName(name_), hello.name,
               config::FormatSize(hello.total_bytes),
               config::FormatSize(hello.free_bytes), worker_pid(),
               supervisor_.restarts() == 0
                   ? ""
                   : absl::StrCat(", restart ", supervisor_.restarts()));
  AskNext(now_ms);
  return absl::OkStatus();
}

void GpuDevice::GiveUp(absl::string_view why, uint64_t now_ms) {
  if (link_ == nullptr) return;
  distrusted_ = true;
  // Nothing of what it still says is read, and it may be long in dying.
  StopListening();
  supervisor_.GiveUp(why, now_ms);
  link_->process().Kill();
}

void GpuDevice::HandleExit(uint64_t now_ms) {
  if (link_ == nullptr) return;
  const std::string how = link_->process().Reap();
  if (how.empty()) return;
  // What it said and did before its end counts.
  HandleSocket(now_ms);
  (void)TakeCompletions(now_ms);
  Lose(how, now_ms);
}

void GpuDevice::Lose(absl::string_view how, uint64_t now_ms) {
  supervisor_.Exited(how, now_ms);
  Unregister();
  link_.reset();
  hello_.reset();
  request_.reset();
  copies_.clear();
  bytes_under_way_ = 0;
  held_.clear();
  for (SegmentUse& use : segments_) use.state = SegmentUse::State::kNew;
  // All pools first: whoever is told of one must not trust another meanwhile.
  for (GpuPoolMemory& memory : pools_) {
    if (memory.state == GpuPoolMemory::State::kMade) {
      memory.host->core().PoolDown(memory.pool, now_ms);
    }
    memory.state = GpuPoolMemory::State::kNone;
    memory.export_kind = protocol::wire::GpuExport::None;
    memory.fd.reset();
    memory.handle.clear();
    memory.reason.clear();
    memory.retry_at_ms = 0;
  }
  TellAll();
  LogNews(now_ms);
}

void GpuDevice::TellAll() {
  for (const GpuPoolMemory& memory : pools_) {
    observer_.OnGpuPoolChanged(*memory.host, memory.pool);
  }
}

void GpuDevice::LogNews(uint64_t now_ms) {
  const std::optional<std::string> news = supervisor_.TakeNews(now_ms);
  if (!news.has_value()) return;
  const bool for_good =
      supervisor_.state() == worker::Supervisor::State::kUnusable;
  spdlog::warn("GPU {}: no worker: {}; {}. Blocks are kept on the host.",
               protocol::FormatGpuName(name_), *news,
               for_good
                   ? "it is not tried again"
                   : absl::StrCat("tried again in ",
                                  supervisor_.retry_at_ms() - now_ms, " ms"));
}

}  // namespace kvferry::control
