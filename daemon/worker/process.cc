#include "daemon/worker/process.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::worker {
namespace {

// How long a killed worker is waited for: a driver lets go of a device's memory
// in that time, and the daemon's own end must not hang on it.
constexpr absl::Duration kExitGrace = absl::Seconds(5);

// What posix_spawn is told, freed whatever happens.
class SpawnPlan {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // Also when it has the number already, dup2 takes the close-on-exec mark
  // away. Ours all have it; what this process itself inherited may not.
  int Make(int worker_end) {
    if (const int error = ::posix_spawn_file_actions_adddup2(
            &actions_, worker_end, kWorkerSocketFd);
        error != 0) {
      return error;
    }
    if (const int error = ::posix_spawn_file_actions_addclosefrom_np(
            &actions_, kWorkerSocketFd + 1);
        error != 0) {
      return error;
    }
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    return ::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

std::string Describe(int wait_status) {
  if (WIFEXITED(wait_status)) {
    return absl::StrCat("exit code ", WEXITSTATUS(wait_status));
  }
  const int signal = WTERMSIG(wait_status);
  return absl::StrCat("signal ", signal, " (", ::strsignal(signal), ")");
}

bool IsProgram(const std::filesystem::path& path) {
  return ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Spawn(
    const std::string& program, const std::vector<std::string>& args,
    UniqueFd worker_end) {
  std::vector<std::string> words = {program};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  SpawnPlan plan;
  if (const int error = plan.Make(worker_end.get()); error != 0) {
    return ErrnoStatus(error, absl::StrCat("start ", program));
  }
  std::unique_ptr<Process> process(new Process());
  // A bare name is looked for in $PATH.
  const auto spawn =
      absl::StrContains(program, '/') ? ::posix_spawn : ::posix_spawnp;
  if (const int error = spawn(&process->pid_, program.c_str(), plan.actions(),
                              plan.attributes(), argv.data(), environ);
      error != 0) {
    process->pid_ = 0;
    return ErrnoStatus(error, absl::StrCat("start ", program));
  }
  // The number is its own until it is reaped, which is done here only.
  process->pidfd_.reset(
      static_cast<int>(::syscall(SYS_pidfd_open, process->pid_, 0)));
  if (!process->pidfd_.valid()) return ErrnoStatus(errno, "pidfd_open");
  return process;
}

Process::~Process() {
  if (pid_ == 0 || !ended_.empty()) return;
  Kill();
  if (pidfd_.valid()) {
    (void)WaitForExit(kExitGrace);
  } else {
    (void)::waitpid(pid_, nullptr, 0);
  }
}

void Process::Kill() {
  if (ended_.empty()) ::kill(pid_, SIGKILL);
}

std::string Process::Reap() {
  int wait_status = 0;
  if (ended_.empty() && ::waitpid(pid_, &wait_status, WNOHANG) == pid_) {
    ended_ = Describe(wait_status);
  }
  return ended_;
}

bool Process::WaitForExit(absl::Duration timeout) {
  pollfd exited{pidfd_.get(), POLLIN, 0};
  while (::poll(&exited, 1,
                static_cast<int>(absl::ToInt64Milliseconds(timeout))) < 0 &&
         errno == EINTR) {
  }
  return !Reap().empty();
}

std::string FindProgram(const std::string& configured, absl::string_view name) {
  if (!configured.empty()) return configured;
  std::error_code error;
  const std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  if (!error) {
    for (const std::filesystem::path& path :
         {folder / std::string(name),
          folder / KVFERRY_LIBEXEC_FROM_BIN / std::string(name)}) {
      if (IsProgram(path)) return path.lexically_normal().string();
    }
  }
  return std::string(name);
}

absl::Status BecomeWorker(pid_t daemon) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    return ErrnoStatus(errno, "prctl PR_SET_PDEATHSIG");
  }
  // It may have ended before that.
  if (::getppid() != daemon) {
    return absl::UnavailableError(
        absl::StrCat("the daemon, pid ", daemon, ", is gone"));
  }
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) {
    return ErrnoStatus(errno, "prctl PR_SET_DUMPABLE");
  }
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    ::signal(signal, SIG_IGN);
  }
  return absl::OkStatus();
}

}  // namespace kvferry::worker
