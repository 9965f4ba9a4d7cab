#include "sdk/connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/limits.h"

namespace kvferry::sdk {

using protocol::wire::Body;

namespace {

// Only a guard: nothing the daemon sends goes unnoticed for longer than this.
constexpr absl::Duration kPollMax = absl::Milliseconds(100);

// Waits until `fd` has one of `events`, or a little longer than nothing.
void PollFor(int fd, short events, absl::Time deadline) {
  const absl::Duration left = std::min(deadline - absl::Now(), kPollMax);
  if (left <= absl::ZeroDuration()) return;
  pollfd entry{fd, events, 0};
  (void)::poll(&entry, 1,
               static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
}

absl::Status FromWire(const protocol::wire::ErrorT& error) {
  const bool known =
      error.code >= static_cast<uint32_t>(absl::StatusCode::kCancelled) &&
      error.code <= static_cast<uint32_t>(absl::StatusCode::kUnauthenticated);
  return absl::Status(known ? static_cast<absl::StatusCode>(error.code)
                            : absl::StatusCode::kInternal,
                      error.message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Connection::Connect(
    absl::string_view socket_path, absl::Time deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.empty() || socket_path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket path \"", socket_path, "\": ", socket_path.size(),
                     " bytes, must be 1 to ", sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());

  UniqueFd socket(
      ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return ErrnoStatus(errno, "socket");
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address),
                   sizeof(address)) != 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) {
      return absl::UnavailableError(absl::StrCat("no daemon at ", socket_path,
                                                 ": ", std::strerror(errno)));
    }
    // Its queue of connections is full; poll cannot wait for that.
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "the daemon at ", socket_path, " accepts no connection"));
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  ucred peer{};
  socklen_t peer_bytes = sizeof(peer);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) !=
      0) {
    return ErrnoStatus(errno, "socket: SO_PEERCRED");
  }
  return std::unique_ptr<Connection>(
      new Connection(std::move(socket), peer.uid));
}

Connection::~Connection() = default;

absl::Status Connection::Send(const protocol::wire::MessageT& message,
                              absl::Time deadline) {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                           protocol::EncodeMessage(message));
  for (;;) {
    const absl::Status status = protocol::SendPacket(socket_.get(), bytes, {});
    if (!absl::IsResourceExhausted(status)) return status;
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError("the daemon does not read its socket");
    }
    PollFor(socket_.get(), POLLOUT, deadline);
  }
}

void Connection::SendOneWay(const protocol::wire::MessageT& message) {
  absl::StatusOr<std::vector<std::byte>> bytes =
      protocol::EncodeMessage(message);
  if (!bytes.ok()) return;
  (void)protocol::SendPacket(socket_.get(), *bytes, {});
}

absl::StatusOr<Connection::Reply> Connection::CallMessage(
    protocol::wire::MessageT message, absl::Time deadline) {
  const char* const verb = protocol::wire::EnumNameBody(message.body.type);
  {
    MutexLock lock(&mutex_);
    if (closed()) {
      return absl::UnavailableError(absl::StrCat(verb, ": the daemon is away"));
    }
    do {
      message.id = next_id_++;
    } while (message.id == 0 || replies_.contains(message.id));
    replies_[message.id] = nullptr;
  }
  if (absl::Status sent = Send(message, deadline); !sent.ok()) {
    MutexLock lock(&mutex_);
    replies_.erase(message.id);
    return WithContext(sent, verb);
  }

  std::unique_ptr<Reply> reply;
  for (;;) {
    MutexLock lock(&mutex_);
    if (!handed_over_) DrainWithLock();
    const auto found = replies_.find(message.id);
    if (found->second != nullptr) {
      reply = std::move(found->second);
      replies_.erase(found);
      break;
    }
    if (closed()) {
      replies_.erase(found);
      return absl::UnavailableError(
          absl::StrCat(verb, ": the daemon went away"));
    }
    if (absl::Now() >= deadline) {
      replies_.erase(found);
      return absl::DeadlineExceededError(
          absl::StrCat(verb, ": the daemon did not answer in time"));
    }
    if (handed_over_) {
      // By the system clock, whose waits sanitizers know.
      arrived_.WaitUntil(
          &mutex_, absl::ToChronoTime(
                       std::min(deadline, absl::Now() + absl::Seconds(1))));
    } else {
      mutex_.Unlock();
      PollFor(socket_.get(), POLLIN, deadline);
      mutex_.Lock();
    }
  }
  if (reply->message.body.type == Body::Error) {
    return FromWire(*reply->message.body.AsError());
  }
  return std::move(*reply);
}

absl::Status Connection::WrongBody(Body there, Body expected) {
  return absl::InternalError(absl::StrCat(
      "the daemon answered ", protocol::wire::EnumNameBody(there), " where ",
      protocol::wire::EnumNameBody(expected), " was due"));
}

void Connection::Drain() {
  MutexLock lock(&mutex_);
  DrainWithLock();
}

void Connection::DrainWithLock() {
  while (!closed()) {
    absl::StatusOr<protocol::Packet> packet =
        protocol::ReceivePacket(socket_.get(), protocol::kFdsPerMessageMax);
    if (!packet.ok()) {
      if (!absl::IsNotFound(packet.status())) CloseWithLock();
      return;
    }
    Dispatch(*std::move(packet));
  }
}

void Connection::Dispatch(protocol::Packet packet) {
  absl::StatusOr<protocol::wire::MessageT> message =
      protocol::DecodeMessage(packet.bytes);
  if (!message.ok()) {
    // Whoever sends this is no daemon of ours.
    CloseWithLock();
    return;
  }
  if (message->id != 0) {
    const auto awaited = replies_.find(message->id);
    if (awaited == replies_.end()) return;  // its caller has given up
    awaited->second = std::make_unique<Reply>();
    awaited->second->message = *std::move(message);
    awaited->second->fds = std::move(packet.fds);
    arrived_.NotifyAll();
    return;
  }
  switch (message->body.type) {
    case Body::SegmentAdded:
      if (packet.fds.size() != 1) break;
      segments_.push_back(
          {*message->body.AsSegmentAdded(), std::move(packet.fds[0])});
      break;
    case Body::GpuPoolChanged: {
      protocol::wire::GpuPoolChangedT& changed =
          *message->body.AsGpuPoolChanged();
      const bool by_descriptor =
          changed.export_ == protocol::wire::GpuExport::Descriptor;
      if (packet.fds.size() != (by_descriptor ? 1 : 0)) break;
      gpu_pools_.push_back({std::move(changed), by_descriptor
                                                    ? std::move(packet.fds[0])
                                                    : UniqueFd()});
      break;
    }
    case Body::Poke:
      poked_.store(true, std::memory_order_release);
      break;
    case Body::Error:
      // What the daemon says before it closes a session for cause.
      CloseWithLock();
      break;
    default:
      break;  // a newer daemon may say more
  }
}

std::vector<Connection::Segment> Connection::TakeSegments() {
  MutexLock lock(&mutex_);
  return std::exchange(segments_, {});
}

std::vector<Connection::GpuPool> Connection::TakeGpuPools() {
  MutexLock lock(&mutex_);
  return std::exchange(gpu_pools_, {});
}

void Connection::HandOver() {
  MutexLock lock(&mutex_);
  handed_over_ = true;
}

void Connection::Close() {
  MutexLock lock(&mutex_);
  CloseWithLock();
}

void Connection::CloseWithLock() {
  closed_.store(true, std::memory_order_release);
  arrived_.NotifyAll();
}

}  // namespace kvferry::sdk
