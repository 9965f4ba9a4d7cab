#ifndef KVFERRY_TOOLS_SUPPORT_DAEMON_PROCESS_H_
#define KVFERRY_TOOLS_SUPPORT_DAEMON_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kvferry::tools {

struct DaemonProcessOptions {
  // Empty: the kvferryd of this build or installation (FindDaemonBinary).
  std::string binary;
  uint64_t pool_bytes = uint64_t{1} << 30;
  // Further command line, after the flags that this class gives.
  std::vector<std::string> arguments;
  // The one processor it may run on; -1: any.
  int cpu = -1;
  // How long it may take until it answers.
  absl::Duration start_timeout = absl::Seconds(30);
};

// A kvferryd of one's own: it lives in a new directory below /dev/shm (or
// $TMPDIR where there is none), which is removed with it.
//
// Life cycle  1. Start, which returns once the daemon answers   2. use
//             socket_path()   3. Stop, or destroy.
// Threads     one
class DaemonProcess {
 public:
  // Errors  kNotFound     no kvferryd where it was looked for
  //         kUnavailable  it ended, or did not answer in time; the message
  //                       ends in the last lines of its log
  static absl::StatusOr<std::unique_ptr<DaemonProcess>> Start(
      const DaemonProcessOptions& options);
  // Stops it; what goes wrong there is lost.
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // Ends it with SIGTERM and removes the directory. A second call does
  // nothing.
  // Errors  kDeadlineExceeded  it did not end by itself within ten seconds
  //                            and was killed
  //         kInternal          it ended with a status other than 0, or by a
  //                            signal; the message ends in its log's last lines
  absl::Status Stop();

  const std::string& socket_path() const { return socket_path_; }
  pid_t pid() const { return pid_; }
  // User and system time it has used so far; 0 once it is gone.
  absl::Duration cpu_time() const;

 private:
  explicit DaemonProcess(std::string directory);
  absl::Status AwaitAnswer(absl::Duration timeout);
  std::string LogTail() const;
  void RemoveDirectory();

  const std::string directory_;
  const std::string socket_path_;
  const std::string log_path_;
  pid_t pid_ = -1;  // -1: not started, or ended and waited for
};

// The kvferryd beside the running program: in the build tree it belongs to, or
// in its own folder.
// Errors  kNotFound  the message names the places
absl::StatusOr<std::string> FindDaemonBinary();

// User and system time of a living process; 0 when there is none.
absl::Duration ProcessCpuTime(pid_t pid);

}  // namespace kvferry::tools

#endif  // KVFERRY_TOOLS_SUPPORT_DAEMON_PROCESS_H_
