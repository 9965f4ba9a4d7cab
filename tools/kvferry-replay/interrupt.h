#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_INTERRUPT_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_INTERRUPT_H_

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace kvferry::replay {

// Turns SIGINT, SIGTERM and SIGHUP into something an event loop can wait for,
// so that a replay that is told to stop ends what it started. Handlers, not a
// blocked mask: children would inherit the mask.
// Threads  at most one object in a process
class InterruptWatch {
 public:
  static absl::StatusOr<InterruptWatch> Install();

  // Readable once a signal came.
  int fd() const { return read_end_.get(); }
  // The last signal that came, 0 if none did.
  static int signal_number();

 private:
  explicit InterruptWatch(UniqueFd read_end) : read_end_(std::move(read_end)) {}

  UniqueFd read_end_;
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_INTERRUPT_H_
