#include "tools/support/daemon_process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "kvferry/admin.h"

namespace kvferry::tools {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kStopTimeout = absl::Seconds(10);
constexpr absl::Duration kPollInterval = absl::Milliseconds(2);

// What a child does between fork and exec: only async-signal-safe calls, for
// the parent has threads.
[[noreturn]] void ExecDaemon(char* const* argv, const char* log_path, int cpu,
                             pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  const int log = ::open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int null = ::open("/dev/null", O_RDONLY);
  if (log < 0 || null < 0 || ::dup2(null, 0) < 0 || ::dup2(log, 1) < 0 ||
      ::dup2(log, 2) < 0) {
    ::_exit(127);
  }
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(cpu), &set);
    if (::sched_setaffinity(0, sizeof(set), &set) != 0) ::_exit(126);
  }
  ::execv(argv[0], argv);
  ::_exit(127);
}

absl::StatusOr<std::string> MakeDirectory() {
  // The index lies in the directory: on a disk its pages would be written
  // back again and again.
  std::error_code error;
  fs::path base = "/dev/shm";
  if (::access(base.c_str(), W_OK) != 0) base = fs::temp_directory_path(error);
  if (error) return ErrnoStatus(error.value(), "the temporary directory");
  std::string path = (base / "kvferryd-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) {
    return ErrnoStatus(errno, absl::StrCat("mkdtemp ", path));
  }
  return path;
}

}  // namespace

absl::StatusOr<std::string> FindDaemonBinary() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) return ErrnoStatus(error.value(), "/proc/self/exe");
  std::string tried;
  for (const char* place :
       {"../../daemon/kvferryd", "kvferryd", "../sbin/kvferryd"}) {
    const fs::path path = (self.parent_path() / place).lexically_normal();
    if (::access(path.c_str(), X_OK) == 0) return path.string();
    absl::StrAppend(&tried, tried.empty() ? "" : ", ", path.string());
  }
  return absl::NotFoundError(
      absl::StrCat("no kvferryd at ", tried, "; name it with --daemon"));
}

absl::Duration ProcessCpuTime(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  if (pid <= 0 || !std::getline(file, line)) return absl::ZeroDuration();
  // The program's name, in brackets, may hold blanks and brackets of its own.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return absl::ZeroDuration();
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;  // state .. cmajflt
  uint64_t user_ticks = 0;
  uint64_t system_ticks = 0;
  fields >> user_ticks >> system_ticks;
  return absl::Seconds(static_cast<double>(user_ticks + system_ticks) /
                       static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

DaemonProcess::DaemonProcess(std::string directory)
    : directory_(std::move(directory)),
      socket_path_(directory_ + "/kvferryd.sock"),
      log_path_(directory_ + "/kvferryd.log") {}

absl::StatusOr<std::unique_ptr<DaemonProcess>> DaemonProcess::Start(
    const DaemonProcessOptions& options) {
  std::string binary = options.binary;
  if (binary.empty()) {
    KVFERRY_ASSIGN_OR_RETURN(binary, FindDaemonBinary());
  } else if (::access(binary.c_str(), X_OK) != 0) {
    return ErrnoStatus(errno, absl::StrCat("the daemon ", binary));
  }
  KVFERRY_ASSIGN_OR_RETURN(std::string directory, MakeDirectory());
  std::unique_ptr<DaemonProcess> daemon(
      new DaemonProcess(std::move(directory)));

  std::vector<std::string> words = {
      binary,
      "--socket",
      daemon->socket_path_,
      "--directory",
      daemon->directory_ + "/state",
      "--pool-size",
      absl::StrCat(options.pool_bytes),
  };
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    ExecDaemon(argv.data(), daemon->log_path_.c_str(), options.cpu, parent);
  }
  daemon->pid_ = pid;
  KVFERRY_RETURN_IF_ERROR(daemon->AwaitAnswer(options.start_timeout));
  return daemon;
}

absl::Status DaemonProcess::AwaitAnswer(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    int wait_status = 0;
    if (::waitpid(pid_, &wait_status, WNOHANG) == pid_) {
      pid_ = -1;
      return absl::UnavailableError(
          absl::StrCat("kvferryd ended at its start: ", LogTail()));
    }
    if (AdminClient::Connect(socket_path_, absl::Seconds(1)).ok()) {
      return absl::OkStatus();
    }
    if (absl::Now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat("kvferryd did not answer within ",
                       absl::FormatDuration(timeout), ": ", LogTail()));
    }
    absl::SleepFor(kPollInterval);
  }
}

DaemonProcess::~DaemonProcess() {
  (void)Stop();
  RemoveDirectory();
}

absl::Status DaemonProcess::Stop() {
  if (pid_ < 0) return absl::OkStatus();
  ::kill(pid_, SIGTERM);
  const absl::Time deadline = absl::Now() + kStopTimeout;
  int wait_status = 0;
  absl::Status result;
  while (::waitpid(pid_, &wait_status, WNOHANG) == 0) {
    if (absl::Now() > deadline && result.ok()) {
      ::kill(pid_, SIGKILL);
      result = absl::DeadlineExceededError(absl::StrCat(
          "kvferryd did not end within ", absl::FormatDuration(kStopTimeout),
          " of SIGTERM: ", LogTail()));
    }
    absl::SleepFor(kPollInterval);
  }
  pid_ = -1;
  if (result.ok() && wait_status != 0) {
    result = absl::InternalError(absl::StrCat(
        "kvferryd ended with wait status ", wait_status, ": ", LogTail()));
  }
  RemoveDirectory();
  return result;
}

absl::Duration DaemonProcess::cpu_time() const { return ProcessCpuTime(pid_); }

std::string DaemonProcess::LogTail() const {
  constexpr std::streamoff kTailBytes = 2000;
  std::ifstream file(log_path_, std::ios::binary | std::ios::ate);
  const std::streamoff size = file.tellg();
  if (!file || size <= 0) return "(its log is empty)";
  file.seekg(size > kTailBytes ? size - kTailBytes : 0);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void DaemonProcess::RemoveDirectory() {
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

}  // namespace kvferry::tools
