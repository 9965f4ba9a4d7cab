#include "sdk/client_impl.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/spec.h"
#include "sdk/hazard.h"
#include "sdk/service_thread.h"

namespace kvferry::sdk {
namespace {

constexpr absl::Duration kBackoffMin = absl::Milliseconds(10);
constexpr absl::Duration kBackoffMax = absl::Seconds(1);
// Also what the destructor may have to wait for.
constexpr absl::Duration kReattachTimeout = absl::Seconds(1);
constexpr absl::Duration kLastFlushTimeout = absl::Seconds(1);
// How often something that nobody announces is looked at again: retired
// attachments, submissions that found no room.
constexpr absl::Duration kServiceInterval = absl::Milliseconds(100);

// What `kvferryctl sessions` shows when the caller gave no name.
std::string ProgramName() { return program_invocation_short_name; }

}  // namespace

absl::Status ForkedError() {
  return absl::FailedPreconditionError(
      "this Client belongs to the parent process: attach anew after fork");
}

ClientImpl::ClientImpl(const AttachOptions& options) : options_(options) {
  if (options_.socket_path.empty()) {
    options_.socket_path = DefaultSocketPath();
    const char* named =
        ::secure_getenv("KVFERRY_SOCKET");  // as the path's rule
    default_path_ = (named == nullptr || named[0] == '\0') && ::geteuid() != 0;
  }
  if (options_.client_name.empty()) options_.client_name = ProgramName();
}

absl::StatusOr<std::unique_ptr<ClientImpl>> ClientImpl::Attach(
    const AttachOptions& options) {
  if (options.accept_existing) {
    if (options.spec.name.empty()) {
      return absl::InvalidArgumentError("attach: the namespace has no name");
    }
  } else {
    KVFERRY_RETURN_IF_ERROR(protocol::ValidateSpec(options.spec));
  }
  const absl::Time deadline = absl::Now() + options.timeout;
  std::unique_ptr<ClientImpl> client(new ClientImpl(options));
  client->wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!client->wake_.valid()) return ErrnoStatus(errno, "attach: eventfd");
  client->can_reclaim_ = Hazards::Enable();

  KVFERRY_ASSIGN_OR_RETURN(std::shared_ptr<Attachment> attachment,
                           client->AttachOnce(deadline));
  if (options.wait_for_memory) {
    KVFERRY_RETURN_IF_ERROR(client->WaitForMemory(attachment.get(), deadline));
  }
  // Later attachments must find the namespace as it is now: the caller has
  // computed with its geometry.
  client->options_.spec = attachment->info().spec;
  client->options_.accept_existing = false;
  client->options_.create = options.create && !options.accept_existing;
  client->Install(std::move(attachment));

  absl::StatusOr<std::thread> thread = StartServiceThread(
      "kvferry-client", [self = client.get()] { self->Run(); });
  if (!thread.ok()) {
    return WithContext(thread.status(), "attach: background thread");
  }
  client->background_ = *std::move(thread);
  return client;
}

ClientImpl::~ClientImpl() {
  stopping_.store(true, std::memory_order_release);
  if (background_.joinable()) {
    const uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof(one));
    background_.join();
  }
  stream_watcher_->Stop();
  MutexLock lock(&mutex_);
  if (owner_ == nullptr) return;
  // What was committed stays committed: the daemon shall have taken it in
  // before it hears of the end.
  if (connected()) {
    (void)owner_->channel().Flush(absl::Now() + kLastFlushTimeout);
  }
  owner_->connection()->Close();
  owner_->channel().MakeVoid();
  owner_->MarkLost();
  // An orderly end says that nothing here is read or written any more. A
  // Publication that is still there keeps the attachment, and by its lock the
  // session: its blocks are safe until it goes.
  if (owner_.use_count() == 1 && owner_->pins().AllZero()) {
    owner_->connection()->SendOneWay(
        protocol::MakeMessage(0, protocol::wire::DetachT{}));
  }
}

std::shared_ptr<Attachment> ClientImpl::attachment() const {
  MutexLock lock(&mutex_);
  return owner_;
}

uint32_t ClientImpl::retired_count() const {
  MutexLock lock(&mutex_);
  return static_cast<uint32_t>(retired_.size());
}

absl::StatusOr<std::shared_ptr<Attachment>> ClientImpl::AttachOnce(
    absl::Time deadline) const {
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection,
                           Connection::Connect(options_.socket_path, deadline));
  // A default path may lie in a directory that everybody writes; whoever names
  // a socket knows whose it is.
  if (default_path_ && connection->peer_uid() != 0 &&
      connection->peer_uid() != ::geteuid()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "the daemon at ", options_.socket_path, " is user ",
        connection->peer_uid(), "'s, neither root's nor this user's (",
        ::geteuid(), "); name its socket if it is meant"));
  }
  protocol::wire::AttachT request;
  request.protocol_version = protocol::kProtocolVersion;
  request.layout_version = protocol::kLayoutVersion;
  request.spec = std::make_unique<protocol::wire::NamespaceSpecT>();
  request.accept_existing = options_.accept_existing;
  request.create = options_.create;
  request.access = options_.publish ? protocol::wire::Access::Publish
                                    : protocol::wire::Access::Read;
  request.client_name = options_.client_name;
  if (options_.accept_existing) {
    request.spec->name = options_.spec.name;
  } else {
    *request.spec = protocol::ToWire(options_.spec);
    const protocol::Fingerprint fingerprint =
        protocol::FingerprintOf(options_.spec);
    for (std::byte byte : fingerprint) {
      request.fingerprint.push_back(static_cast<uint8_t>(byte));
    }
  }
  KVFERRY_ASSIGN_OR_RETURN(Connection::Reply reply,
                           connection->Call(std::move(request), deadline));
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<protocol::wire::AttachedT> attached,
                           Connection::TakeBody<protocol::wire::AttachedT>(
                               std::move(reply.message)));
  if (!options_.accept_existing &&
      (attached->spec == nullptr ||
       !(protocol::FromWire(*attached->spec) == options_.spec))) {
    return absl::InternalError(
        "attach: the daemon answered with another specification");
  }
  return Attachment::Create(std::move(connection), *attached,
                            std::move(reply.fds),
                            {.spin = options_.spin,
                             .service_fd = wake_.get(),
                             .residences = options_.residences},
                            deadline);
}

absl::Status ClientImpl::WaitForMemory(Attachment* attachment,
                                       absl::Time deadline) const {
  for (;;) {
    attachment->Drain();
    KVFERRY_RETURN_IF_ERROR(attachment->segment_status());
    const SegmentTable& segments = attachment->segments();
    uint32_t group = 0;
    while (group < segments.group_count() && segments.HasAny(group)) ++group;
    if (group == segments.group_count()) return absl::OkStatus();
    if (attachment->connection()->closed()) {
      return absl::UnavailableError(
          "attach: the daemon went away before it gave memory");
    }
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("attach: group ", group, " has no memory after ",
                       absl::FormatDuration(options_.timeout)));
    }
    pollfd entry{attachment->connection()->fd(), POLLIN, 0};
    (void)::poll(&entry, 1,
                 static_cast<int>(absl::ToInt64Milliseconds(
                     std::min(left, kServiceInterval))) +
                     1);
  }
}

void ClientImpl::Install(std::shared_ptr<Attachment> attachment) {
  MutexLock device_lock(&device_mutex_);
  if (device_ != nullptr) {
    // One that is away again is noticed by what follows.
    (void)attachment->OpenGpu(device_, absl::Now() + kReattachTimeout);
  }
  attachment->connection()->HandOver();
  MutexLock lock(&mutex_);
  current_.store(attachment.get(), std::memory_order_release);
  if (owner_ != nullptr) retired_.push_back(std::move(owner_));
  owner_ = std::move(attachment);
  connected_.store(true, std::memory_order_release);
}

absl::Status ClientImpl::SetGpu(std::shared_ptr<gpu::Device> device,
                                absl::Time deadline) {
  MutexLock lock(&device_mutex_);
  if (device_ != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat(
        "gpu: this client has opened ", device_->report().name, " already"));
  }
  const std::shared_ptr<Attachment> attachment = this->attachment();
  if (absl::Status opened = attachment->OpenGpu(device, deadline);
      !opened.ok()) {
    attachment->CloseGpu();
    return opened;
  }
  device_ = std::move(device);
  return absl::OkStatus();
}

void ClientImpl::ClearGpu() {
  MutexLock lock(&device_mutex_);
  device_.reset();
  MutexLock list_lock(&mutex_);
  owner_->CloseGpu();
  for (const auto& attachment : retired_) attachment->CloseGpu();
}

// --- background thread ---------------------------------------------------

void ClientImpl::Run() {
  absl::Duration backoff = kBackoffMin;
  while (!stopping()) {
    if (connected()) {
      Serve(attachment().get());
      backoff = kBackoffMin;
    } else if (options_.reattach) {
      Reattach(&backoff);
    } else {
      Poll(-1,
           retired_count() > 0 ? kServiceInterval : absl::InfiniteDuration());
    }
    Reclaim();
  }
}

void ClientImpl::Serve(Attachment* attachment) {
  PublishChannel& channel = attachment->channel();
  const bool again =
      channel.NeedsService() || retired_count() > 0 || gpu_pending_;
  Poll(attachment->connection()->fd(),
       again ? kServiceInterval : absl::InfiniteDuration());
  attachment->Drain();
  if (attachment->connection()->TakePoke() || channel.NeedsService()) {
    channel.Service();
  }
  gpu_pending_ = attachment->ServeGpu();
  if (!attachment->connection()->closed()) return;
  connected_.store(false, std::memory_order_release);
  channel.MakeVoid();
  attachment->MarkLost();
}

void ClientImpl::Reattach(absl::Duration* backoff) {
  absl::StatusOr<std::shared_ptr<Attachment>> attachment =
      AttachOnce(absl::Now() + kReattachTimeout);
  if (attachment.ok()) {
    Install(*std::move(attachment));
    return;
  }
  Poll(-1, *backoff);
  *backoff = std::min(*backoff * 2, kBackoffMax);
}

void ClientImpl::Poll(int socket, absl::Duration timeout) {
  pollfd entries[2] = {{wake_.get(), POLLIN, 0}, {socket, POLLIN, 0}};
  const int timeout_ms =
      timeout == absl::InfiniteDuration()
          ? -1
          : static_cast<int>(absl::ToInt64Milliseconds(timeout)) + 1;
  if (::poll(entries, 2, timeout_ms) <= 0) return;
  uint64_t count;
  if (entries[0].revents != 0)
    (void)!::read(wake_.get(), &count, sizeof(count));
}

void ClientImpl::Reclaim() {
  // Taken out under the lock, unmapped after it.
  std::vector<std::shared_ptr<Attachment>> gone;
  MutexLock lock(&mutex_);
  if (retired_.empty() || !can_reclaim_ || !Hazards::Barrier()) return;
  std::erase_if(retired_, [&gone](std::shared_ptr<Attachment>& attachment) {
    if (attachment.use_count() > 1 || Hazards::Names(attachment.get()) ||
        !attachment->pins().AllZero()) {
      return false;
    }
    gone.push_back(std::move(attachment));
    return true;
  });
}

}  // namespace kvferry::sdk
