#ifndef KVFERRY_DAEMON_WORKER_PROCESS_H_
#define KVFERRY_DAEMON_WORKER_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace kvferry::worker {

// The descriptor that a worker finds its end of the socket at.
inline constexpr int kWorkerSocketFd = 3;

// A worker process, a child of this one: no other descriptors than its end of
// the socket and standard input, output, error; no signal blocked or ignored.
//
//  1. Spawn.
//  2. pidfd() becomes readable: Reap.
//  3. Destroyed: what still runs is killed, and waited for a little.
//
// Threads  one at a time; Spawn on a thread that lives as long as the worker
//          shall (DieWithParent)
class Process {
 public:
  // Errors  kNotFound, kPermissionDenied  no such program, or not executable
  //         as ErrnoStatus
  static absl::StatusOr<std::unique_ptr<Process>> Spawn(
      const std::string& program, const std::vector<std::string>& args,
      UniqueFd worker_end);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Readable once it is gone.
  int pidfd() const { return pidfd_.get(); }
  // SIGKILL.
  void Kill();
  // How it ended ("exit code 3", "signal 9 (Killed)"); empty: it runs.
  std::string Reap();
  // Whether it was gone, and reaped, before `timeout` had passed.
  bool WaitForExit(absl::Duration timeout);

 private:
  Process() = default;

  pid_t pid_ = 0;
  UniqueFd pidfd_;
  std::string ended_;
};

// Where the program of a worker is: `configured`; else `name` in the folder of
// this process's own program; else in its libexec; else what $PATH has. The
// last of them even if it is not there: to start it says so.
std::string FindProgram(const std::string& configured, absl::string_view name);

// For the worker's main, first of all: it is killed when the daemon's thread
// that started it ends, others of the same user do not reach its memory
// through /proc, and signals meant for the daemon (a terminal's, a service
// manager's) leave it alone: it ends when its socket does.
// Errors  kUnavailable  the daemon is gone already
absl::Status BecomeWorker(pid_t daemon);

}  // namespace kvferry::worker

#endif  // KVFERRY_DAEMON_WORKER_PROCESS_H_
