#include "tools/kvferry-bench/peer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tools/kvferry-bench/buffer.h"

namespace kvferry::bench {
namespace {

constexpr absl::Duration kReadyTimeout = absl::Seconds(30);
constexpr absl::Duration kPollInterval = absl::Milliseconds(1);

// Copies `text` and its end into `field`.
template <size_t N>
absl::Status CopyText(const std::string& text, char (&field)[N]) {
  if (text.size() >= N) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "' is ", text.size(), " bytes long, the limit is ", N - 1));
  }
  std::memcpy(field, text.c_str(), text.size() + 1);
  return absl::OkStatus();
}

}  // namespace

Peer::Peer(Mapping memory, pid_t pid)
    : memory_(std::move(memory)), board_(memory_.At<PeerBoard>(0)), pid_(pid) {}

Peer::Peer(Peer&& other) noexcept
    : memory_(std::move(other.memory_)),
      board_(std::exchange(other.board_, nullptr)),
      pid_(std::exchange(other.pid_, -1)) {}

absl::StatusOr<Peer> Peer::Start(const PeerOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(const UniqueFd file,
                           MakeMemoryFile(sizeof(PeerBoard), PageKind::kSmall));
  KVFERRY_ASSIGN_OR_RETURN(
      Mapping memory,
      Mapping::Map(file.get(), sizeof(PeerBoard), Mapping::Access::kReadWrite));
  auto* const board = new (memory.data()) PeerBoard;
  board->role = options.role;
  board->cpu = options.cpu;
  board->key_seed = options.key_seed;
  board->page_bytes = options.page_bytes;
  board->blocks_per_s = options.blocks_per_s;
  KVFERRY_RETURN_IF_ERROR(CopyText(options.socket, board->socket));
  KVFERRY_RETURN_IF_ERROR(
      CopyText(options.namespace_name, board->namespace_name));

  std::string program = "/proc/self/exe";
  std::string flag = "--peer-board";
  // The child's copy of the descriptor has another number: dup clears the
  // close-on-exec mark, in the child alone.
  std::string number = "000000";
  char* const argv[] = {program.data(), flag.data(), number.data(), nullptr};
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    // Only async-signal-safe calls: the parent has threads.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = ::dup(file.get());
    if (::getppid() != parent || fd < 0) ::_exit(127);
    for (size_t i = number.size(); i-- > 0; fd /= 10) {
      number[i] = static_cast<char>('0' + fd % 10);
    }
    ::execv(argv[0], argv);
    ::_exit(127);
  }
  Peer peer(std::move(memory), pid);
  KVFERRY_RETURN_IF_ERROR(peer.AwaitReady());
  return peer;
}

absl::Status Peer::AwaitReady() {
  const absl::Time deadline = absl::Now() + kReadyTimeout;
  while (board_->ready.load(std::memory_order_acquire) == 0) {
    int wait_status = 0;
    if (::waitpid(pid_, &wait_status, WNOHANG) == pid_) {
      pid_ = -1;
      return absl::UnavailableError(absl::StrCat(
          "the other process ended at its start, wait status ", wait_status));
    }
    if (absl::Now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat("the other process is not there after ",
                       absl::FormatDuration(kReadyTimeout)));
    }
    absl::SleepFor(kPollInterval);
  }
  return absl::OkStatus();
}

Peer::~Peer() {
  const absl::Status status = Stop();
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
}

absl::Status Peer::Stop() {
  if (pid_ < 0) return absl::OkStatus();
  board_->stop.store(1, std::memory_order_release);
  const absl::Time deadline = absl::Now() + kReadyTimeout;
  int wait_status = 0;
  while (::waitpid(pid_, &wait_status, WNOHANG) == 0) {
    if (absl::Now() > deadline) ::kill(pid_, SIGKILL);
    absl::SleepFor(kPollInterval);
  }
  pid_ = -1;
  if (wait_status != 0) {
    return absl::InternalError(
        absl::StrCat("the other process ended with wait status ", wait_status));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
