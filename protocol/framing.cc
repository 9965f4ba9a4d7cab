#include "protocol/framing.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "protocol/limits.h"

namespace kvferry::protocol {

absl::StatusOr<std::vector<std::byte>> EncodeMessage(
    const wire::MessageT& message) {
  flatbuffers::FlatBufferBuilder builder(1024);
  wire::FinishMessageBuffer(builder, wire::Message::Pack(builder, &message));
  if (builder.GetSize() > kMessageBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message ", wire::EnumNameBody(message.body.type), ": ",
        builder.GetSize(), " bytes, the limit is ", kMessageBytesMax));
  }
  const auto* begin =
      reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return std::vector<std::byte>(begin, begin + builder.GetSize());
}

absl::StatusOr<wire::MessageT> DecodeMessage(std::span<const std::byte> bytes) {
  if (bytes.size() > kMessageBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message: ", bytes.size(), " bytes, the limit is ", kMessageBytesMax));
  }
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  flatbuffers::Verifier verifier(data, bytes.size(), kFlatbufferDepthMax,
                                 kFlatbufferTablesMax);
  // The identifier check reads eight bytes before anything is verified.
  if (bytes.size() < 8 || !wire::VerifyMessageBuffer(verifier)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message: ", bytes.size(), " bytes that are no valid KVFC buffer"));
  }
  wire::MessageT message;
  const wire::Message* root = wire::GetMessage(data);
  if (root->body() == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message: body of unknown type ", static_cast<int>(root->body_type())));
  }
  root->UnPackTo(&message);
  return message;
}

absl::Status SendPacket(int socket, std::span<const std::byte> bytes,
                        std::span<const int> fds) {
  iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsPerMessageMax * sizeof(int))];
  if (!fds.empty()) {
    if (fds.size() > kFdsPerMessageMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("packet: ", fds.size(), " descriptors, the limit is ",
                       kFdsPerMessageMax));
    }
    std::memset(control, 0, sizeof(control));
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  while (::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
      return absl::ResourceExhaustedError("packet: the peer's socket is full");
    }
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
      return absl::UnavailableError("packet: the peer closed its socket");
    }
    return ErrnoStatus(errno, "packet: sendmsg");
  }
  return absl::OkStatus();
}

absl::StatusOr<Packet> ReceivePacket(int socket, uint32_t fds_max) {
  Packet packet;
  packet.bytes.resize(kMessageBytesMax);
  iovec vector{packet.bytes.data(), packet.bytes.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  // Room for more than any message of ours carries: what arrives is closed
  // here, what does not fit the kernel closes and reports as MSG_CTRUNC.
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsPerMessageMax * sizeof(int))];
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return absl::NotFoundError("packet: none there");
    }
    if (errno == ECONNRESET) {
      return absl::UnavailableError("packet: the peer closed its socket");
    }
    return ErrnoStatus(errno, "packet: recvmsg");
  }
  for (cmsghdr* control_message = CMSG_FIRSTHDR(&header);
       control_message != nullptr;
       control_message = CMSG_NXTHDR(&header, control_message)) {
    if (control_message->cmsg_level != SOL_SOCKET ||
        control_message->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count =
        (control_message->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control_message) + i * sizeof(int),
                  sizeof(fd));
      packet.fds.emplace_back(fd);
    }
  }
  if ((header.msg_flags & MSG_TRUNC) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "packet: longer than the limit of ", kMessageBytesMax, " bytes"));
  }
  if ((header.msg_flags & MSG_CTRUNC) != 0 || packet.fds.size() > fds_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("packet: ", packet.fds.size(),
                     " or more descriptors, expected at most ", fds_max));
  }
  // A packet of no bytes does not exist in this protocol; on SEQPACKET it is
  // what an orderly close looks like.
  if (received == 0) {
    return absl::UnavailableError("packet: the peer closed its socket");
  }
  packet.bytes.resize(static_cast<size_t>(received));
  return packet;
}

}  // namespace kvferry::protocol
