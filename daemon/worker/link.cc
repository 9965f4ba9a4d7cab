#include "daemon/worker/link.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "protocol/framing.h"

namespace kvferry::worker {
namespace {

// For an orderly end: a device's memory is freed and its context destroyed.
constexpr absl::Duration kQuitGrace = absl::Seconds(2);
// A message of a worker has at most one (a pool's memory).
constexpr uint32_t kFdsMax = 1;

}  // namespace

absl::StatusOr<std::unique_ptr<Link>> Link::Start(
    const std::string& program, std::vector<std::string> args) {
  std::unique_ptr<Link> link(new Link());
  KVFERRY_ASSIGN_OR_RETURN(link->rings_, DaemonRingEnd::Make());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   ends) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  link->socket_.reset(ends[0]);
  UniqueFd worker_end(ends[1]);
  for (std::string word : {std::string("--fd"), absl::StrCat(kWorkerSocketFd),
                           std::string("--daemon"), absl::StrCat(::getpid())}) {
    args.push_back(std::move(word));
  }
  KVFERRY_ASSIGN_OR_RETURN(
      link->process_, Process::Spawn(program, args, std::move(worker_end)));
  return link;
}

Link::~Link() {
  if (process_ == nullptr || !process_->Reap().empty()) return;
  if (Send(protocol::worker::QuitT()).ok()) {
    (void)process_->WaitForExit(kQuitGrace);
  }
}

absl::Status Link::SendMessage(const protocol::worker::MessageT& message,
                               std::span<const int> fds) {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                           protocol::EncodeWorkerMessage(message));
  const absl::Status sent = protocol::SendPacket(socket_.get(), bytes, fds);
  if (absl::IsResourceExhausted(sent)) {
    return absl::UnavailableError("it does not read its socket");
  }
  return sent;
}

absl::StatusOr<protocol::worker::MessageT> Link::Receive(
    std::vector<UniqueFd>* fds) {
  KVFERRY_ASSIGN_OR_RETURN(protocol::Packet packet,
                           protocol::ReceivePacket(socket_.get(), kFdsMax));
  *fds = std::move(packet.fds);
  return protocol::DecodeWorkerMessage(packet.bytes);
}

absl::Status Link::SendRings() {
  const int fds[] = {rings_.file_fd(), rings_.worker_doorbell_fd(),
                     rings_.daemon_doorbell_fd()};
  return Send(protocol::worker::RingsT(), fds);
}

}  // namespace kvferry::worker
