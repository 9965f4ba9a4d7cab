#include "tests/support/daemon_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tests/support/program_path.h"

namespace kvferry::test {
namespace {

// How long the loops below let the process table or the log rest between two
// looks; each look also ends early when the child does.
constexpr int kLookEveryMs = 2;

bool Accepts(const std::string& socket_path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(),
               sizeof(address.sun_path) - 1);
  return socket.valid() &&
         ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof(address)) == 0;
}

}  // namespace

std::string DaemonProgramPath() { return ProgramPath(KVFERRYD_PATH); }
std::string GpuWorkerProgramPath() { return ProgramPath(KVFERRY_GPU_PATH); }

DaemonProcess::DaemonProcess(Options options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<DaemonProcess>> DaemonProcess::Start(
    Options options) {
  std::unique_ptr<DaemonProcess> daemon(new DaemonProcess(std::move(options)));
  char folder[] = "/dev/shm/kvferry-test-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return ErrnoStatus(errno, "mkdtemp");
  daemon->folder_ = folder;
  if (::chmod(folder, daemon->options_.folder_mode) != 0) {
    return ErrnoStatus(errno, absl::StrCat("chmod ", folder));
  }
  daemon->directory_ = absl::StrCat(folder, "/node");
  daemon->socket_path_ = absl::StrCat(folder, "/kvferryd.sock");
  daemon->log_path_ = absl::StrCat(folder, "/log");
  KVFERRY_RETURN_IF_ERROR(daemon->Restart());
  return daemon;
}

DaemonProcess::~DaemonProcess() {
  Kill();
  if (!folder_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
}

absl::Status DaemonProcess::Restart() {
  Kill();
  KVFERRY_RETURN_IF_ERROR(Spawn());
  return WaitForSocket();
}

absl::Status DaemonProcess::Spawn() {
  std::vector<std::string> args = {
      DaemonProgramPath(), "--socket",    socket_path_,      "--directory",
      directory_,          "--pool-size", options_.pool_size};
  args.insert(args.end(), options_.extra_args.begin(),
              options_.extra_args.end());
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  UniqueFd log(::open(log_path_.c_str(),
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) return ErrnoStatus(errno, absl::StrCat("open ", log_path_));

  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return ErrnoStatus(errno, "fork");
  if (child == 0) {
    // Only async-signal-safe calls: the test may have other threads.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(126);
    ::dup2(log.get(), STDOUT_FILENO);
    ::dup2(log.get(), STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  pid_ = child;
  exit_code_ = -1;
  pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  if (!pidfd_.valid()) return ErrnoStatus(errno, "pidfd_open");
  return absl::OkStatus();
}

absl::Status DaemonProcess::WaitForSocket() {
  const absl::Time deadline = absl::Now() + options_.timeout;
  while (absl::Now() < deadline) {
    if (Accepts(socket_path_)) return absl::OkStatus();
    if (Reap(absl::Milliseconds(kLookEveryMs)) >= 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          DaemonProgramPath(), " exited with code ", exit_code_, ": ", log()));
    }
  }
  return absl::DeadlineExceededError(absl::StrCat(
      DaemonProgramPath(), " does not listen on ", socket_path_, " after ",
      absl::FormatDuration(options_.timeout), ": ", log()));
}

int DaemonProcess::Reap(absl::Duration timeout) {
  if (pid_ == 0) return exit_code_;
  pollfd poll_fd{pidfd_.get(), POLLIN, 0};
  if (::poll(&poll_fd, 1,
             static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) {
    return -1;
  }
  int wait_status = 0;
  if (::waitpid(pid_, &wait_status, 0) != pid_) return -1;
  pid_ = 0;
  exit_code_ = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
                                      : 128 + WTERMSIG(wait_status);
  return exit_code_;
}

bool DaemonProcess::running() {
  return pid_ != 0 && Reap(absl::ZeroDuration()) < 0;
}

int DaemonProcess::Stop() {
  if (pid_ == 0) return exit_code_;
  ::kill(pid_, SIGTERM);
  if (Reap(options_.timeout) < 0) Kill();
  return exit_code_;
}

void DaemonProcess::Kill() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  Reap(absl::InfiniteDuration());
}

std::string DaemonProcess::log() const {
  std::ifstream file(log_path_);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool DaemonProcess::WaitForLog(const std::string& text,
                               absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (log().find(text) == std::string::npos) {
    if (absl::Now() >= deadline || !running()) {
      return log().find(text) != std::string::npos;
    }
    Reap(absl::Milliseconds(kLookEveryMs));
  }
  return true;
}

}  // namespace kvferry::test
