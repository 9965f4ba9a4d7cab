#ifndef KVFERRY_TESTS_SUPPORT_DAEMON_PROCESS_H_
#define KVFERRY_TESTS_SUPPORT_DAEMON_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace kvferry::test {

// A real kvferryd of this build tree, on a directory of its own under
// /dev/shm that goes with the object.
//
//  1. Start returns once the socket accepts connections.
//  2. Stop (orderly) or Kill (at once), then perhaps Restart.
//  3. The destructor kills what still runs and removes the directory.
//
// The child gets SIGKILL when the thread that started it ends, so that a
// crashed test leaves no daemon behind: start it from the main thread.
// Threads  one at a time
class DaemonProcess {
 public:
  struct Options {
    std::string pool_size = "64MiB";
    std::vector<std::string> extra_args;
    // Of the folder that holds socket, directory and log. A test with several
    // users opens it; the directory itself stays the daemon's.
    mode_t folder_mode = 0700;
    absl::Duration timeout = absl::Seconds(20);
  };

  // Errors  kFailedPrecondition  the daemon exited; its log is in the message
  //         kDeadlineExceeded    it does not answer; likewise
  static absl::StatusOr<std::unique_ptr<DaemonProcess>> Start(Options options);
  static absl::StatusOr<std::unique_ptr<DaemonProcess>> Start() {
    return Start(Options());
  }
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  const std::string& socket_path() const { return socket_path_; }
  // What the daemon got as --directory.
  const std::string& directory() const { return directory_; }
  // Of the child; 0 when it does not run.
  pid_t pid() const { return pid_; }
  bool running();

  // SIGTERM, then waits. Returns the exit code, or 128 + the signal.
  int Stop();
  // SIGKILL, then waits.
  void Kill();
  // Starts it again on the same directory and socket (after Stop or Kill, or
  // killing it first).
  absl::Status Restart();

  // Everything it and its predecessors wrote to standard error.
  std::string log() const;

  // Waits until the log contains `text`. False when `timeout` passed first.
  bool WaitForLog(const std::string& text,
                  absl::Duration timeout = absl::Seconds(10));

 private:
  explicit DaemonProcess(Options options);
  absl::Status Spawn();
  absl::Status WaitForSocket();
  // Waits for the child; returns its code, or -1 when `timeout` passed.
  int Reap(absl::Duration timeout);

  const Options options_;
  std::string folder_;
  std::string directory_;
  std::string socket_path_;
  std::string log_path_;
  pid_t pid_ = 0;
  UniqueFd pidfd_;
  int exit_code_ = -1;
};

// The program that DaemonProcess starts.
std::string DaemonProgramPath();
// What that daemon starts for each GPU, unless it is told otherwise.
std::string GpuWorkerProgramPath();

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_DAEMON_PROCESS_H_
