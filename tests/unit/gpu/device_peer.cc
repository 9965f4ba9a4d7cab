#include "tests/unit/gpu/device_peer.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"
#include "protocol/framing.h"
#include "tests/support/program_path.h"

namespace kvferry::gpu {
namespace {

// Far beyond what any single step takes, also under a sanitizer.
constexpr int kReplyMs = 60 * 1000;

}  // namespace

absl::Status SendPeerMessage(int socket, const PeerMessage& message, int fd) {
  const std::span<const int> fds(&fd, fd >= 0 ? 1 : 0);
  return protocol::SendPacket(socket, std::as_bytes(std::span(&message, 1)),
                              fds);
}

absl::StatusOr<PeerMessage> ReceivePeerMessage(int socket, UniqueFd* fd) {
  pollfd poll_fd{socket, POLLIN, 0};
  if (::poll(&poll_fd, 1, kReplyMs) <= 0) {
    return absl::DeadlineExceededError("the other process says nothing");
  }
  KVFERRY_ASSIGN_OR_RETURN(protocol::Packet packet,
                           protocol::ReceivePacket(socket, 1));
  PeerMessage message;
  KVFERRY_CHECK(packet.bytes.size() == sizeof(message));
  std::memcpy(&message, packet.bytes.data(), sizeof(message));
  if (!packet.fds.empty()) *fd = std::move(packet.fds.front());
  return message;
}

void SetExported(const ExportedMemory& exported, PeerMessage* message) {
  message->kind = exported.kind;
  message->owner_pid = exported.owner_pid;
  message->bytes = exported.bytes;
  KVFERRY_CHECK(exported.handle.size() <= sizeof(message->handle));
  message->handle_bytes = static_cast<uint32_t>(exported.handle.size());
  std::copy(exported.handle.begin(), exported.handle.end(), message->handle);
}

ExportedMemory ExportedOf(const PeerMessage& message, UniqueFd fd) {
  ExportedMemory exported;
  exported.kind = message.kind;
  exported.owner_pid = message.owner_pid;
  exported.bytes = message.bytes;
  exported.handle.assign(message.handle, message.handle + message.handle_bytes);
  exported.fd = std::move(fd);
  return exported;
}

absl::StatusOr<std::unique_ptr<DevicePeer>> DevicePeer::Start(
    const std::string& directory) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  std::unique_ptr<DevicePeer> peer(new DevicePeer);
  peer->socket_.reset(ends[0]);
  const UniqueFd theirs(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDIN_FILENO);
  std::string path = test::ProgramPath(KVFERRY_DEVICE_PEER_PATH);
  std::string argument = directory;
  char* argv[] = {path.data(), argument.data(), nullptr};
  const int error = ::posix_spawn(&peer->pid_, path.c_str(), &actions, nullptr,
                                  argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, path);
  return peer;
}

DevicePeer::~DevicePeer() { Kill(); }

void DevicePeer::Kill() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

absl::StatusOr<PeerMessage> DevicePeer::Call(const PeerMessage& message, int fd,
                                             UniqueFd* reply_fd) {
  KVFERRY_RETURN_IF_ERROR(SendPeerMessage(socket_.get(), message, fd));
  KVFERRY_ASSIGN_OR_RETURN(const PeerMessage reply,
                           ReceivePeerMessage(socket_.get(), reply_fd));
  if (reply.code != 0) {
    return absl::Status(static_cast<absl::StatusCode>(reply.code),
                        std::string(reply.text, reply.text_bytes));
  }
  return reply;
}

absl::Status DevicePeer::Call(PeerMessage::Verb verb, uint64_t seed) {
  PeerMessage message;
  message.verb = verb;
  message.seed = seed;
  UniqueFd none;
  return Call(message, -1, &none).status();
}

absl::StatusOr<ExportedMemory> DevicePeer::Allocate(uint64_t bytes,
                                                    ExportMode mode) {
  PeerMessage message;
  message.verb = PeerMessage::Verb::kAllocate;
  message.mode = mode;
  message.bytes = bytes;
  UniqueFd fd;
  KVFERRY_ASSIGN_OR_RETURN(const PeerMessage reply, Call(message, -1, &fd));
  return ExportedOf(reply, std::move(fd));
}

absl::Status DevicePeer::Import(const ExportedMemory& exported) {
  PeerMessage message;
  message.verb = PeerMessage::Verb::kImport;
  SetExported(exported, &message);
  UniqueFd none;
  return Call(message, exported.fd.get(), &none).status();
}

absl::Status DevicePeer::Fill(uint64_t seed) {
  return Call(PeerMessage::Verb::kFill, seed);
}
absl::Status DevicePeer::Check(uint64_t seed) {
  return Call(PeerMessage::Verb::kCheck, seed);
}
absl::Status DevicePeer::Release() {
  return Call(PeerMessage::Verb::kRelease, 0);
}

}  // namespace kvferry::gpu
