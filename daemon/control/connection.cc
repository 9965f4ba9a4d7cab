#include "daemon/control/connection.h"

#include <fcntl.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "protocol/limits.h"

namespace kvferry::control {

absl::StatusOr<std::unique_ptr<Connection>> Connection::Make(
    uint64_t id, UniqueFd socket, Peer peer, uint64_t now_ms, Poller* poller,
    bool* any_closed) {
  auto connection = absl::WrapUnique(new Connection(
      id, std::move(socket), std::move(peer), now_ms, poller, any_closed));
  KVFERRY_RETURN_IF_ERROR(
      poller->Add(connection->socket_.get(), {SourceKind::kConnection, id}));
  return connection;
}

Connection::Connection(uint64_t id, UniqueFd socket, Peer peer, uint64_t now_ms,
                       Poller* poller, bool* any_closed)
    : id_(id),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      accepted_ms_(now_ms),
      poller_(*poller),
      any_closed_(*any_closed) {}

Connection::~Connection() { poller_.Remove(socket_.get()); }

absl::StatusOr<protocol::wire::MessageT> Connection::Receive() {
  // No message of a client carries descriptors.
  KVFERRY_ASSIGN_OR_RETURN(
      const protocol::Packet packet,
      protocol::ReceivePacket(socket_.get(), /*fds_max=*/0));
  greeted_ = true;
  return protocol::DecodeMessage(packet.bytes);
}

void Connection::Send(const protocol::wire::MessageT& message,
                      std::span<const int> fds) {
  if (end_ != End::kOpen) return;
  absl::StatusOr<std::vector<std::byte>> bytes =
      protocol::EncodeMessage(message);
  if (!bytes.ok()) {
    // Ours is too long: the client at least gets to know.
    bytes = protocol::EncodeMessage(protocol::MakeMessage(message.id, [&] {
      protocol::wire::ErrorT error;
      error.code = static_cast<uint32_t>(absl::StatusCode::kInternal);
      error.message = std::string(bytes.status().message());
      return error;
    }()));
    fds = {};
    if (!bytes.ok()) return Close(End::kOrderly, bytes.status().message());
  }
  if (!outbox_.empty() || !TrySend(*bytes, fds)) {
    Queue(*std::move(bytes), fds);
  }
}

void Connection::ReplyError(uint32_t id, const absl::Status& status) {
  protocol::wire::ErrorT error;
  error.code = static_cast<uint32_t>(status.code());
  error.message = std::string(status.message());
  Reply(id, std::move(error));
}

bool Connection::TrySend(std::span<const std::byte> bytes,
                         std::span<const int> fds) {
  const absl::Status sent = protocol::SendPacket(socket_.get(), bytes, fds);
  if (absl::IsResourceExhausted(sent)) return false;
  if (!sent.ok()) Close(End::kOrderly, sent.message());
  return true;
}

void Connection::Queue(std::vector<std::byte> bytes, std::span<const int> fds) {
  if (outbox_bytes_ + bytes.size() > protocol::kOutboxBytesMax) {
    return Close(End::kForCause,
                 absl::StrCat("does not read: over ", protocol::kOutboxBytesMax,
                              " bytes wait for it"));
  }
  Waiting waiting;
  for (const int fd : fds) {
    // Their owner may close them before the client reads.
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) {
      return Close(End::kOrderly, ErrnoStatus(errno, "outbox: dup").message());
    }
    waiting.fds.push_back(std::move(copy));
  }
  outbox_bytes_ += bytes.size();
  waiting.bytes = std::move(bytes);
  outbox_.push_back(std::move(waiting));
  if (outbox_.size() == 1) {
    poller_.SetEvents(socket_.get(), {SourceKind::kConnection, id_},
                      EPOLLIN | EPOLLOUT);
  }
}

void Connection::Flush() {
  while (!outbox_.empty() && end_ == End::kOpen) {
    std::vector<int> fds;
    for (const UniqueFd& fd : outbox_.front().fds) fds.push_back(fd.get());
    if (!TrySend(outbox_.front().bytes, fds)) return;
    outbox_bytes_ -= outbox_.front().bytes.size();
    outbox_.pop_front();
  }
  poller_.SetEvents(socket_.get(), {SourceKind::kConnection, id_}, EPOLLIN);
}

void Connection::Close(End end, absl::string_view reason) {
  if (end_ != End::kOpen) return;
  any_closed_ = true;
  end_ = end;
  end_reason_ = std::string(reason);
}

}  // namespace kvferry::control
