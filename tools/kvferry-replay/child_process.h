#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_CHILD_PROCESS_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_CHILD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kvferry::replay {

// Another process of ours. It is in a process group of its own, so that what
// is typed at the terminal reaches us alone and we end it in order; when we
// die, the kernel ends it.
// Threads  one; the process that started it
class ChildProcess {
 public:
  // The descriptor as which the child finds the one it inherits.
  static constexpr int kInheritedFd = 3;

  // Runs `words[0]` with `words` as its command line. `fd` stays the caller's.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      std::vector<std::string> words, int fd);
  // Kills it when it has not ended.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }

  // Waits for its end and returns the wait status; nothing when it did not
  // come within `timeout`.
  std::optional<int> Wait(absl::Duration timeout);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}

  const pid_t pid_;
  std::optional<int> wait_status_;  // once it has ended
};

// "ended with exit code 1", "was killed by signal 9 (Killed)".
std::string DescribeEnd(int wait_status);

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_CHILD_PROCESS_H_
