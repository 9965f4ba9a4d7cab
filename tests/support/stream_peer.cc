#include "tests/support/stream_peer.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "tests/support/program_path.h"

namespace kvferry::test {
namespace {

// Far beyond what any single step takes, also under a sanitizer.
constexpr int kReplyMs = 60 * 1000;

absl::Status SetText(absl::string_view text, StreamCommand* command) {
  if (text.size() > sizeof(command->text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("text of ", text.size(), " bytes, a command has room for ",
                     sizeof(command->text)));
  }
  command->text_bytes = static_cast<uint32_t>(text.size());
  // An empty view may be of nothing.
  if (!text.empty()) std::memcpy(command->text, text.data(), text.size());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StreamPeer>> StreamPeer::Start(
    const std::string& socket_path, const std::string& name) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  std::unique_ptr<StreamPeer> peer(new StreamPeer());
  peer->socket_.reset(ends[0]);
  const UniqueFd theirs(ends[1]);
  std::vector<std::string> args = {ProgramPath(KVFERRY_STREAM_PEER_PATH),
                                   socket_path, name};
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return ErrnoStatus(errno, "fork");
  if (child == 0) {
    // Only async-signal-safe calls: the test may have other threads.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(126);
    ::dup2(theirs.get(), STDIN_FILENO);  // which clears close-on-exec
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  peer->pid_ = child;
  KVFERRY_RETURN_IF_ERROR(peer->Receive().status());
  return peer;
}

StreamPeer::~StreamPeer() { Kill(); }

void StreamPeer::Kill() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

absl::Status StreamPeer::Stop() {
  ::kill(pid_, SIGSTOP);
  int status = 0;
  if (::waitpid(pid_, &status, WUNTRACED) != pid_ || !WIFSTOPPED(status)) {
    return absl::InternalError(
        absl::StrCat("process ", pid_, " did not stop: status ", status));
  }
  return absl::OkStatus();
}

void StreamPeer::Continue() { ::kill(pid_, SIGCONT); }

absl::Status StreamPeer::Send(const StreamCommand& command) {
  if (::send(socket_.get(), &command, sizeof(command), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(sizeof(command))) {
    return ErrnoStatus(errno, "send to the stream peer");
  }
  return absl::OkStatus();
}

absl::StatusOr<StreamReply> StreamPeer::Receive() {
  pollfd poll_fd{socket_.get(), POLLIN, 0};
  if (::poll(&poll_fd, 1, kReplyMs) <= 0) {
    return absl::DeadlineExceededError("the stream peer does not answer");
  }
  StreamReply reply;
  if (::recv(socket_.get(), &reply, sizeof(reply), 0) !=
      static_cast<ssize_t>(sizeof(reply))) {
    return absl::UnavailableError("the stream peer is gone");
  }
  if (reply.code != 0) {
    return absl::Status(static_cast<absl::StatusCode>(reply.code),
                        std::string(reply.text, reply.text_bytes));
  }
  return reply;
}

absl::StatusOr<StreamReply> StreamPeer::Call(const StreamCommand& command) {
  KVFERRY_RETURN_IF_ERROR(Send(command));
  return Receive();
}

absl::Status StreamPeer::CallRange(StreamVerb verb, uint32_t first,
                                   uint32_t count, uint32_t layers) {
  StreamCommand command;
  command.verb = verb;
  command.first = first;
  command.count = count;
  command.layers = layers;
  return Call(command).status();
}

absl::Status StreamPeer::Open(const PublicationOptions& options) {
  StreamCommand command;
  command.verb = StreamVerb::kOpen;
  command.engine_instance = options.engine_instance;
  command.publication = options.publication;
  command.slice_first = options.slice_first;
  command.slice_count = options.slice_count;
  command.stall_ms = absl::ToInt64Milliseconds(options.stall_timeout);
  command.standby = options.standby ? 1 : 0;
  return Call(command).status();
}

absl::StatusOr<uint32_t> StreamPeer::Begin(uint64_t key, uint32_t count,
                                           uint32_t tail_tokens) {
  StreamCommand command;
  command.verb = StreamVerb::kBegin;
  command.key = key;
  command.count = count;
  command.tail_tokens = tail_tokens;
  KVFERRY_ASSIGN_OR_RETURN(const StreamReply reply, Call(command));
  return reply.value;
}

absl::Status StreamPeer::Write(uint32_t first, uint32_t count, uint32_t layer,
                               uint32_t layers) {
  StreamCommand command;
  command.verb = StreamVerb::kWrite;
  command.first = first;
  command.count = count;
  command.layer = layer;
  command.layers = layers;
  return Call(command).status();
}

absl::Status StreamPeer::ScribbleOver(uint32_t first, uint32_t count) {
  return CallRange(StreamVerb::kScribble, first, count);
}
absl::Status StreamPeer::CommitLayers(uint32_t first, uint32_t count,
                                      uint32_t layers) {
  return CallRange(StreamVerb::kCommitLayers, first, count, layers);
}
absl::Status StreamPeer::Commit(uint32_t first, uint32_t count) {
  return CallRange(StreamVerb::kCommit, first, count);
}
absl::Status StreamPeer::CommitAndWait(uint32_t first, uint32_t count) {
  return CallRange(StreamVerb::kCommitAndWait, first, count);
}
absl::Status StreamPeer::Abort() { return CallRange(StreamVerb::kAbort, 0, 0); }
absl::Status StreamPeer::Close() { return CallRange(StreamVerb::kClose, 0, 0); }
absl::Status StreamPeer::BreakRing() {
  return CallRange(StreamVerb::kBreakRing, 0, 0);
}

absl::Status StreamPeer::Produce(uint32_t first, uint32_t count) {
  KVFERRY_RETURN_IF_ERROR(Write(first, count));
  return Commit(first, count);
}

absl::Status StreamPeer::SetHandOver(absl::string_view bytes) {
  StreamCommand command;
  command.verb = StreamVerb::kSetHandOver;
  KVFERRY_RETURN_IF_ERROR(SetText(bytes, &command));
  return Call(command).status();
}

absl::StatusOr<BlockOutcome> StreamPeer::Outcome(uint32_t position) {
  StreamCommand command;
  command.verb = StreamVerb::kOutcome;
  command.first = position;
  KVFERRY_ASSIGN_OR_RETURN(const StreamReply reply, Call(command));
  return static_cast<BlockOutcome>(reply.value);
}

absl::StatusOr<Ticket> StreamPeer::Mint(uint64_t key, uint32_t count,
                                        uint32_t tail_tokens,
                                        absl::string_view hand_over) {
  StreamCommand command;
  command.verb = StreamVerb::kMint;
  command.key = key;
  command.count = count;
  command.tail_tokens = tail_tokens;
  command.consumers = 1;
  KVFERRY_RETURN_IF_ERROR(SetText(hand_over, &command));
  KVFERRY_ASSIGN_OR_RETURN(const StreamReply reply, Call(command));
  return Ticket{std::string(reply.text, reply.text_bytes)};
}

absl::StatusOr<uint32_t> StreamPeer::Match(uint64_t key, uint32_t count) {
  StreamCommand command;
  command.verb = StreamVerb::kMatch;
  command.key = key;
  command.count = count;
  KVFERRY_ASSIGN_OR_RETURN(const StreamReply reply, Call(command));
  return reply.value;
}

absl::StatusOr<uint32_t> StreamPeer::WaitChunk(uint32_t blocks) {
  StreamCommand command;
  command.verb = StreamVerb::kWaitChunk;
  command.count = blocks;
  KVFERRY_ASSIGN_OR_RETURN(const StreamReply reply, Call(command));
  return reply.value;
}

absl::Status StreamPeer::StartWaitChunk(uint32_t blocks) {
  StreamCommand command;
  command.verb = StreamVerb::kWaitChunk;
  command.count = blocks;
  return Send(command);
}

}  // namespace kvferry::test
