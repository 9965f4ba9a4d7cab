#include "sdk/attachment.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/spec.h"
#include "sdk/futex.h"

namespace kvferry::sdk {
namespace {

constexpr int kSegmentPollMs = 10;

std::span<const protocol::GroupRecord> GroupsOf(
    const protocol::IndexHeader& index) {
  return {index.groups, index.group_count};
}

const protocol::PublicationRecord* PublicationsOf(
    const protocol::IndexHeader* index) {
  return reinterpret_cast<const protocol::PublicationRecord*>(
      reinterpret_cast<const std::byte*>(index) +
      protocol::PublicationsOffset(index->bucket_count));
}

NamespaceInfo InfoOf(const protocol::wire::AttachedT& attached) {
  NamespaceInfo info;
  if (attached.spec != nullptr) info.spec = protocol::FromWire(*attached.spec);
  std::memcpy(info.salt.data(), attached.salt.data(),
              std::min(info.salt.size(), attached.salt.size()));
  info.epoch = attached.epoch;
  info.namespace_id = attached.namespace_id;
  info.session = attached.session;
  info.quota_bytes = attached.quota_bytes;
  return info;
}

}  // namespace

Attachment::Attachment(const SessionMemory& memory, const Options& options,
                       int doorbell_fd)
    : memory_(memory),
      index_(memory.index),
      pins_(memory.pins, memory.index->block_capacity),
      touches_(memory.client, memory.touches, memory.index),
      segments_(GroupsOf(*memory.index)),
      gpu_pools_(memory.index, options.residences),
      publications_(PublicationsOf(memory.index)),
      spin_(options.spin),
      channel_(memory, {.spin = options.spin,
                        .doorbell_fd = doorbell_fd,
                        .service_fd = options.service_fd}) {}

Attachment::Attachment(const SessionMemory& memory, const Options& options)
    : Attachment(memory, options, /*doorbell_fd=*/-1) {}

Attachment::Attachment(SessionFiles files,
                       std::unique_ptr<Connection> connection,
                       const Options& options)
    : Attachment(files.memory(), options, files.doorbell.get()) {
  files_ = std::move(files);
  connection_ = std::move(connection);
}

Attachment::~Attachment() {
  // Said, not left to the closing of the descriptor: a forked child may hold a
  // copy of it, and the lock would outlast this process's use of the session.
  struct flock lock {};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  if (files_.lock.valid()) {
    (void)::fcntl(files_.lock.get(), F_OFD_SETLK, &lock);
  }
  // Likewise the socket; what was sent before is still delivered.
  if (connection_ != nullptr && !forked()) {
    (void)::shutdown(connection_->fd(), SHUT_RDWR);
  }
}

absl::StatusOr<std::shared_ptr<Attachment>> Attachment::Create(
    std::unique_ptr<Connection> connection,
    const protocol::wire::AttachedT& attached, std::vector<UniqueFd> fds,
    const Options& options, absl::Time deadline) {
  KVFERRY_ASSIGN_OR_RETURN(
      SessionFiles files, OpenSessionFiles(attached, std::move(fds), deadline));
  std::shared_ptr<Attachment> attachment(
      new Attachment(std::move(files), std::move(connection), options));
  attachment->info_ = InfoOf(attached);
  attachment->info_.block_capacity = attachment->header().host_blocks;
  attachment->info_.gpu_block_capacity =
      attachment->header().block_capacity - attachment->header().host_blocks;
  const size_t groups = attachment->info_.spec.groups.size();
  if (groups != attachment->segments_.group_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("attached: ", groups, " groups in the specification, ",
                     attachment->segments_.group_count(), " in the index"));
  }
  for (uint32_t g = 0; g < groups; ++g) {
    const GroupSpec& spec = attachment->info_.spec.groups[g];
    const protocol::GroupRecord& record = attachment->segments_.group(g);
    if (spec.block_tokens != record.block_tokens ||
        spec.slice_count != record.slice_count ||
        spec.page_bytes() != record.page_bytes ||
        static_cast<uint32_t>(spec.rule) != record.hit_rule ||
        spec.trailing_blocks != record.trailing_blocks) {
      return absl::InvalidArgumentError(absl::StrCat(
          "attached: group ", g,
          " of the specification and of the index differ (pages of ",
          spec.page_bytes(), " and ", record.page_bytes, " bytes)"));
    }
  }
  // The segments there are follow at once; until they are here a hit would be a
  // miss.
  attachment->Drain();
  while (attachment->segments_taken_ < attached.segment_count &&
         !attachment->connection_->closed() && absl::Now() < deadline) {
    pollfd entry{attachment->connection_->fd(), POLLIN, 0};
    (void)::poll(&entry, 1, kSegmentPollMs);
    attachment->Drain();
  }
  return attachment;
}

void Attachment::Drain() {
  if (connection_ == nullptr) return;
  MutexLock lock(&drain_mutex_);
  connection_->Drain();
  for (Connection::Segment& segment : connection_->TakeSegments()) {
    ++segments_taken_;
    absl::Status status = segments_.Add(segment.added, std::move(segment.fd));
    if (!status.ok()) segment_status_ = std::move(status);
  }
  for (Connection::GpuPool& pool : connection_->TakeGpuPools()) {
    gpu_changes_.push_back(std::move(pool));
    gpu_waiting_.store(true, std::memory_order_release);
  }
  // A recall is the background thread's to answer, and an import its to make,
  // whoever took it in.
  if (connection_->poked() || NeedsGpuService()) channel_.AskForService();
}

absl::Status Attachment::OpenGpu(std::shared_ptr<gpu::Device> device,
                                 absl::Time deadline) {
  protocol::wire::OpenGpuT request;
  const gpu::Uuid& uuid = device->report().uuid;
  request.device_uuid.assign(uuid.begin(), uuid.end());
  {
    MutexLock lock(&gpu_mutex_);
    gpu_pools_.SetDevice(std::move(device));
  }
  if (connection_ == nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<protocol::wire::GpuPoolsT>> answer =
      connection_->Ask<protocol::wire::GpuPoolsT>(std::move(request), deadline);
  if (answer.ok()) {
    MutexLock lock(&gpu_mutex_);
    gpu_pools_.SetNumber((*answer)->device);
    return absl::OkStatus();
  }
  const absl::Status why = WithContext(answer.status(), "GPU pools");
  gpu_pools_.SetRefusal(why);
  return absl::IsUnavailable(why) || absl::IsDeadlineExceeded(why)
             ? why
             : absl::OkStatus();
}

void Attachment::CloseGpu() {
  {
    MutexLock lock(&gpu_mutex_);
    gpu_pools_.ClearDevice();
  }
  // What nobody has pinned can go now, and only ServeGpu lets it.
  channel_.AskForService();
}

bool Attachment::ServeGpu() {
  MutexLock lock(&gpu_mutex_);
  std::vector<Connection::GpuPool> changes;
  {
    MutexLock drain_lock(&drain_mutex_);
    changes = std::exchange(gpu_changes_, {});
    gpu_waiting_.store(false, std::memory_order_release);
  }
  for (Connection::GpuPool& change : changes) {
    // What goes wrong is kept as gpu_pools().status().
    (void)gpu_pools_.Take(change.changed, std::move(change.fd));
  }
  return gpu_pools_.Reclaim([this](uint32_t first, uint32_t count) {
    return pins_.AnyRaised(first, count);
  }) > 0;
}

void Attachment::MarkLost() {
  gpu_pools_.MarkLost();
  lost_.fetch_add(1, std::memory_order_release);
  FutexWakeAll(&lost_);
}

absl::Status Attachment::segment_status() {
  MutexLock lock(&drain_mutex_);
  return segment_status_;
}

}  // namespace kvferry::sdk
