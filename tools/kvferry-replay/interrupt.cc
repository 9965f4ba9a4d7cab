#include "tools/kvferry-replay/interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "base/status.h"

namespace kvferry::replay {
namespace {

// Written by the handler, read by the loop.
std::atomic<int> last_signal{0};
// The pipe's write end; open until the process ends, since a handler may run
// at any time.
std::atomic<int> write_end{-1};
static_assert(std::atomic<int>::is_always_lock_free, "a handler uses them");

void OnSignal(int signal_number) {
  const int saved_errno = errno;
  last_signal.store(signal_number, std::memory_order_relaxed);
  const char byte = 0;
  // A full pipe is readable already.
  (void)!::write(write_end.load(std::memory_order_relaxed), &byte, 1);
  errno = saved_errno;
}

}  // namespace

absl::StatusOr<InterruptWatch> InterruptWatch::Install() {
  std::array<int, 2> ends;
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "pipe2");
  }
  InterruptWatch watch{UniqueFd(ends[0])};
  write_end.store(ends[1], std::memory_order_relaxed);
  struct sigaction action {};
  action.sa_handler = OnSignal;
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    if (::sigaction(signal_number, &action, nullptr) != 0) {
      return ErrnoStatus(errno, "sigaction");
    }
  }
  return watch;
}

int InterruptWatch::signal_number() {
  return last_signal.load(std::memory_order_relaxed);
}

}  // namespace kvferry::replay
