#include "tests/support/raw_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/limits.h"
#include "protocol/spec.h"
#include "tests/support/becomes.h"

namespace kvferry::test {

namespace wire = protocol::wire;

absl::StatusOr<RawClient> RawClient::Connect(const std::string& socket_path) {
  RawClient client;
  client.socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(),
               sizeof(address.sun_path) - 1);
  if (::connect(client.socket_.get(), reinterpret_cast<sockaddr*>(&address),
                sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("connect ", socket_path));
  }
  return client;
}

bool RawClient::SendBytes(std::span<const std::byte> bytes,
                          std::span<const int> fds) {
  iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  std::vector<std::byte> control(CMSG_SPACE(fds.size_bytes()));
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  return ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL) >= 0;
}

absl::StatusOr<wire::MessageT> RawClient::Receive(std::vector<UniqueFd>* fds,
                                                  absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    absl::StatusOr<protocol::Packet> packet =
        protocol::ReceivePacket(socket_.get(), protocol::kFdsPerMessageMax);
    if (packet.ok()) {
      if (fds != nullptr) *fds = std::move(packet->fds);
      return protocol::DecodeMessage(packet->bytes);
    }
    if (!absl::IsNotFound(packet.status())) return packet.status();
    const int64_t left_ms = absl::ToInt64Milliseconds(deadline - absl::Now());
    pollfd poll_fd{socket_.get(), POLLIN, 0};
    if (left_ms <= 0 || ::poll(&poll_fd, 1, static_cast<int>(left_ms)) == 0) {
      return absl::DeadlineExceededError("no message came");
    }
  }
}

absl::StatusOr<wire::MessageT> RawClient::ReceiveReply(
    std::vector<UniqueFd>* fds) {
  while (true) {
    KVFERRY_ASSIGN_OR_RETURN(wire::MessageT message, Receive(fds));
    if (message.id != last_id_) continue;
    if (const wire::ErrorT* error = message.body.AsError()) {
      return absl::Status(static_cast<absl::StatusCode>(error->code),
                          error->message);
    }
    return message;
  }
}

bool RawClient::ClosedByDaemon(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    const auto message = Receive(nullptr, deadline - absl::Now());
    if (absl::IsUnavailable(message.status())) return true;
    if (absl::IsDeadlineExceeded(message.status())) return false;
  }
}

wire::AttachT MakeAttach(const NamespaceSpec& spec) {
  wire::AttachT attach;
  attach.protocol_version = protocol::kProtocolVersion;
  attach.layout_version = protocol::kLayoutVersion;
  attach.spec = std::make_unique<wire::NamespaceSpecT>(protocol::ToWire(spec));
  const protocol::Fingerprint fingerprint = protocol::FingerprintOf(spec);
  attach.fingerprint.resize(fingerprint.size());
  std::memcpy(attach.fingerprint.data(), fingerprint.data(),
              fingerprint.size());
  attach.create = true;
  attach.access = wire::Access::Publish;
  attach.client_name = "raw";
  return attach;
}

absl::StatusOr<RawSession> RawSession::Attach(const std::string& socket_path,
                                              const NamespaceSpec& spec,
                                              wire::Access access) {
  RawSession session;
  KVFERRY_ASSIGN_OR_RETURN(session.connection, RawClient::Connect(socket_path));
  wire::AttachT attach = MakeAttach(spec);
  attach.access = access;
  KVFERRY_ASSIGN_OR_RETURN(
      wire::MessageT message,
      session.connection.Call(std::move(attach), &session.fds));
  if (message.body.AsAttached() == nullptr || session.fds.size() != 6) {
    return absl::InternalError("the reply is no Attached");
  }
  session.attached = std::move(*message.body.AsAttached());
  KVFERRY_ASSIGN_OR_RETURN(
      session.daemon,
      Mapping::Map(session.fds[2].get(), protocol::kSessionDaemonFileBytes,
                   Mapping::Access::kReadOnly));
  KVFERRY_ASSIGN_OR_RETURN(session.client,
                           Mapping::Map(session.fds[3].get(),
                                        protocol::SessionClientFileBytes(
                                            session.attached.block_capacity),
                                        Mapping::Access::kReadWrite));
  KVFERRY_ASSIGN_OR_RETURN(
      session.progress,
      Mapping::Map(session.fds[5].get(), protocol::kProgressFileBytes,
                   Mapping::Access::kReadWrite));
  return session;
}

bool RawSession::SealProgress() {
  return ::fcntl(fds[5].get(), F_ADD_SEALS,
                 F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0;
}

void RawSession::Post(const protocol::SubmitRecord& record) {
  const uint64_t tail = client_header().submit_tail.load();
  client.At<protocol::SubmitRecord>(
      protocol::kSubmitRingOffset)[tail % protocol::kRingRecords] = record;
  client_header().submit_tail.store(tail + 1);
}

void RawSession::PostOpen(uint32_t handle, uint64_t publication,
                          uint32_t stall_ms) {
  protocol::SubmitRecord record{};
  record.type = static_cast<uint8_t>(protocol::SubmitType::kOpen);
  record.handle = handle;
  record.open = {attached.session, publication, 1, stall_ms, 0};
  Post(record);
}

void RawSession::PostBegin(uint32_t handle, uint32_t first,
                           std::span<const BlockKey> keys, uint8_t pool) {
  protocol::SubmitRecord record{};
  record.type = static_cast<uint8_t>(protocol::SubmitType::kBegin);
  record.pool = pool;
  record.handle = handle;
  record.begin = {first, static_cast<uint32_t>(keys.size()), 0, 0};
  Post(record);
  for (const BlockKey& key : keys) {
    record = {};
    record.type = static_cast<uint8_t>(protocol::SubmitType::kBeginBlock);
    record.handle = handle;
    record.begin_block = {key.lo, key.hi, protocol::kNoBlock, 0};
    Post(record);
  }
}

void RawSession::PostRange(protocol::SubmitType type, uint32_t handle,
                           uint32_t first, uint32_t count) {
  protocol::SubmitRecord record{};
  record.type = static_cast<uint8_t>(type);
  record.handle = handle;
  record.range = {first, count};
  Post(record);
}

void RawSession::PostClose(uint32_t handle) {
  protocol::SubmitRecord record{};
  record.type = static_cast<uint8_t>(protocol::SubmitType::kClose);
  record.handle = handle;
  Post(record);
}

absl::StatusOr<protocol::ReplyRecord> RawSession::TakeReply(
    protocol::ReplyType type, absl::Duration timeout) {
  std::atomic<uint64_t>& consumed = client_header().reply_consumed;
  protocol::ReplyRecord reply{};
  const bool found = Becomes(
      [&] {
        while (consumed.load() != daemon_header().reply_tail.load()) {
          reply = daemon.At<protocol::ReplyRecord>(
              protocol::kReplyRingOffset)[consumed.load() %
                                          protocol::kRingRecords];
          consumed.fetch_add(1);
          if (reply.type == static_cast<uint8_t>(type)) return true;
        }
        return false;
      },
      timeout);
  if (found) return reply;
  return absl::DeadlineExceededError(
      absl::StrCat("no reply of type ", static_cast<int>(type)));
}

void RawSession::RingDoorbell() {
  const uint64_t one = 1;
  (void)!::write(fds[4].get(), &one, sizeof(one));
}

bool RawSession::Lock() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  return ::fcntl(fds[3].get(), F_OFD_SETLK, &lock) == 0;
}

void RawSession::LetGo() {
  client = Mapping();
  fds[3].reset();
}

}  // namespace kvferry::test
