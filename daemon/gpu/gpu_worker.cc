#include "daemon/gpu/gpu_worker.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "protocol/framing.h"
#include "protocol/limits.h"

namespace kvferry::gpu_worker {
namespace {

namespace wire = protocol::worker;

// Rings brings three, AddSegment one.
constexpr uint32_t kFdsMax = 3;
// Commands taken in at once, before batches are looked at again.
constexpr size_t kCommandsPerTurnMax = 256;
// While the device copies: how long until its events are looked at again.
constexpr long kNapNs = 50 * 1000;

absl::Status SendMessage(int socket, const wire::MessageT& message,
                         std::span<const int> fds) {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                           protocol::EncodeWorkerMessage(message));
  while (true) {
    const absl::Status sent = protocol::SendPacket(socket, bytes, fds);
    if (!absl::IsResourceExhausted(sent)) return sent;
    // The daemon asks for one thing at a time, so it will read.
    pollfd room{socket, POLLOUT, 0};
    (void)::poll(&room, 1, /*timeout=*/-1);
  }
}

wire::HelloT MakeHello(const gpu::DeviceReport& report) {
  wire::HelloT hello;
  hello.protocol_version = protocol::kWorkerProtocolVersion;
  hello.kind = report.kind == gpu::DeviceKind::kEmulated
                   ? wire::DeviceKind::Emulated
                   : wire::DeviceKind::Cuda;
  hello.uuid.assign(report.uuid.begin(), report.uuid.end());
  hello.name = report.name;
  hello.ordinal = report.ordinal;
  hello.total_bytes = report.total_bytes;
  hello.free_bytes = report.free_bytes;
  hello.driver_version = report.driver_version;
  hello.runtime_version = report.runtime_version;
  for (const gpu::Capability& capability : report.capabilities) {
    auto entry = std::make_unique<wire::CapabilityT>();
    entry->name = capability.name;
    entry->available = capability.available;
    entry->reason = capability.reason;
    hello.capabilities.push_back(std::move(entry));
  }
  return hello;
}

gpu::ExportMode ModeOf(wire::ExportMode mode) {
  switch (mode) {
    case wire::ExportMode::Auto:
      return gpu::ExportMode::kAuto;
    case wire::ExportMode::Vmm:
      return gpu::ExportMode::kVmm;
    case wire::ExportMode::Ipc:
      return gpu::ExportMode::kIpc;
  }
  return gpu::ExportMode::kAuto;
}

}  // namespace

absl::Status SayUnusable(int socket, const absl::Status& why) {
  wire::UnusableT unusable;
  unusable.reason = std::string(why.message());
  // Others may change: a driver is loaded, an engine leaves memory.
  unusable.permanent =
      absl::IsUnimplemented(why) || absl::IsInvalidArgument(why);
  return SendMessage(socket, protocol::MakeWorkerMessage(std::move(unusable)),
                     {});
}

absl::StatusOr<std::unique_ptr<GpuWorker>> GpuWorker::Make(gpu::Device* device,
                                                           UniqueFd socket) {
  std::unique_ptr<GpuWorker> worker(new GpuWorker(device, std::move(socket)));
  KVFERRY_ASSIGN_OR_RETURN(worker->copier_, Copier::Make(device));
  return worker;
}

template <typename Body>
absl::Status GpuWorker::Send(Body body, std::span<const int> fds) {
  return SendMessage(socket_.get(),
                     protocol::MakeWorkerMessage(std::move(body)), fds);
}

absl::Status GpuWorker::SayHello() { return Send(MakeHello(device_.report())); }

absl::Status GpuWorker::Run() {
  KVFERRY_RETURN_IF_ERROR(SayHello());
  while (!quit_) {
    KVFERRY_RETURN_IF_ERROR(TakeMessages());
    KVFERRY_ASSIGN_OR_RETURN(const size_t work, DoCopies());
    // After its last failures were told.
    KVFERRY_RETURN_IF_ERROR(copier_->device_status());
    if (work == 0 && !quit_) KVFERRY_RETURN_IF_ERROR(Sleep());
  }
  return absl::OkStatus();
}

absl::Status GpuWorker::TakeMessages() {
  while (!quit_) {
    // Cheaper than a receive that has nothing to receive.
    pollfd readable{socket_.get(), POLLIN, 0};
    if (::poll(&readable, 1, /*timeout=*/0) <= 0) return absl::OkStatus();
    absl::StatusOr<protocol::Packet> packet =
        protocol::ReceivePacket(socket_.get(), kFdsMax);
    if (absl::IsNotFound(packet.status())) return absl::OkStatus();
    if (absl::IsUnavailable(packet.status())) {
      spdlog::info("ends: the daemon has closed the socket");
      quit_ = true;
      return absl::OkStatus();
    }
    KVFERRY_RETURN_IF_ERROR(packet.status());
    KVFERRY_ASSIGN_OR_RETURN(const wire::MessageT message,
                             protocol::DecodeWorkerMessage(packet->bytes));
    KVFERRY_RETURN_IF_ERROR(Handle(message, std::move(packet->fds)));
  }
  return absl::OkStatus();
}

absl::Status GpuWorker::Handle(const wire::MessageT& message,
                               std::vector<UniqueFd> fds) {
  switch (message.body.type) {
    case wire::Body::Rings: {
      KVFERRY_ASSIGN_OR_RETURN(rings_, worker::WorkerRingEnd::Make(fds));
      return absl::OkStatus();
    }
    case wire::Body::MakePool:
      return MakePool(*message.body.AsMakePool());
    case wire::Body::DropPool: {
      const uint64_t pool_id = message.body.AsDropPool()->pool_id;
      while (copier_->busy()) {
        KVFERRY_RETURN_IF_ERROR(DoCopies().status());
      }
      memory_.DropPool(pool_id);
      return absl::OkStatus();
    }
    case wire::Body::AddSegment:
      return AddSegment(*message.body.AsAddSegment(), std::move(fds));
    case wire::Body::Quit:
      quit_ = true;
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          wire::EnumNameBody(message.body.type), ", which only workers send"));
  }
}

absl::Status GpuWorker::MakePool(const wire::MakePoolT& make) {
  absl::StatusOr<gpu::ExportedMemory> exported =
      memory_.MakePool(make.pool_id, make.bytes, ModeOf(make.mode));
  wire::PoolMadeT made;
  made.pool_id = make.pool_id;
  if (!exported.ok()) {
    made.error = std::string(exported.status().message());
    spdlog::warn("no pool of {} bytes: {}", make.bytes, made.error);
    return Send(std::move(made));
  }
  made.bytes = exported->bytes;
  switch (exported->kind) {
    case gpu::ExportedMemory::Kind::kNone:
      memory_.DropPool(make.pool_id);
      made.error = "the device exports no memory";
      return Send(std::move(made));
    case gpu::ExportedMemory::Kind::kHandle:
      made.export_ = wire::Export::Handle;
      made.handle = std::move(exported->handle);
      return Send(std::move(made));
    case gpu::ExportedMemory::Kind::kDescriptor:
      made.export_ = wire::Export::Descriptor;
      break;
  }
  const int fd = exported->fd.get();
  return Send(std::move(made), std::span(&fd, 1));
}

absl::Status GpuWorker::AddSegment(const wire::AddSegmentT& add,
                                   std::vector<UniqueFd> fds) {
  if (fds.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "segment ", add.segment_id, ": ", fds.size(), " descriptors, not one"));
  }
  const absl::StatusOr<MemoryTable::AddedSegment> result =
      memory_.AddSegment(add.segment_id, add.bytes, std::move(fds[0]));
  wire::SegmentAddedT added;
  added.segment_id = add.segment_id;
  if (result.ok()) {
    added.registered = result->registered;
    added.note = result->note;
  } else {
    added.error = std::string(result.status().message());
  }
  return Send(std::move(added));
}

absl::StatusOr<size_t> GpuWorker::DoCopies() {
  if (!rings_.has_value()) return 0;
  size_t work = 0;
  protocol::WorkerCommand command;
  while (work < kCommandsPerTurnMax) {
    KVFERRY_ASSIGN_OR_RETURN(const bool taken, rings_->Take(&command));
    if (!taken) break;
    Begin(command);
    ++work;
  }
  work += copier_->DoWork(&completions_);
  for (const protocol::WorkerCompletion& completion : completions_) {
    rings_->Post(completion);
  }
  completions_.clear();
  rings_->Publish();
  return work;
}

void GpuWorker::Begin(const protocol::WorkerCommand& command) {
  const absl::StatusOr<gpu::Copy> copy = memory_.Resolve(command);
  if (copy.ok()) return copier_->Add(command.id, command.type, *copy);
  // A bug of the daemon's, which must not become one of the device's.
  spdlog::error("command {} refused: {}", command.id,
                std::string(copy.status().message()));
  protocol::WorkerCompletion refused{};
  refused.id = command.id;
  refused.error = static_cast<uint32_t>(copy.status().code());
  completions_.push_back(refused);
}

absl::Status GpuWorker::Sleep() {
  pollfd fds[2] = {{socket_.get(), POLLIN, 0}, {-1, POLLIN, 0}};
  if (copier_->busy()) {
    const timespec nap{0, kNapNs};
    (void)::ppoll(fds, 1, &nap, nullptr);
    return absl::OkStatus();
  }
  bool may_sleep = true;
  if (rings_.has_value()) {
    fds[1].fd = rings_->doorbell_fd();
    may_sleep = rings_->PrepareToSleep();
  }
  int woken = 0;
  if (may_sleep) woken = ::poll(fds, 2, /*timeout=*/-1);
  const int error = errno;
  if (rings_.has_value()) rings_->WakeUp();
  if (woken < 0 && error != EINTR) return ErrnoStatus(error, "poll");
  return absl::OkStatus();
}

}  // namespace kvferry::gpu_worker
