#ifndef KVFERRY_DAEMON_CONTROL_POLLER_H_
#define KVFERRY_DAEMON_CONTROL_POLLER_H_

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace kvferry::control {

enum class SourceKind : uint8_t {
  kSignals,
  kListener,
  kSegments,        // the segment maker has results
  kConnection,      // id: the connection's
  kProcess,         // a session's process; id: the session's number
  kDoorbell,        // a session's; likewise
  kWorkerSocket,    // a GPU's worker process; id: the device's number
  kWorkerProcess,   // ... is gone; likewise
  kWorkerDoorbell,  // ... has completions; likewise
};

struct Source {
  SourceKind kind = SourceKind::kSignals;
  uint64_t id = 0;
};

// epoll over numbered sources. Descriptors stay their owners'; an owner
// removes one before closing it, since a descriptor that a client has too
// would stay registered.
class Poller {
 public:
  struct Event {
    Source source;
    uint32_t events = 0;
  };

  // Errors  as ErrnoStatus
  static absl::StatusOr<Poller> Make();

  // Errors  as ErrnoStatus
  absl::Status Add(int fd, Source source, uint32_t events = EPOLLIN);
  void SetEvents(int fd, Source source, uint32_t events);
  void Remove(int fd);

  // At most 64 events, valid until the next call. Blocking  at most
  // `timeout_ms`; 0: not at all.
  std::span<const Event> Wait(int timeout_ms);

 private:
  UniqueFd epoll_;
  std::array<Event, 64> events_;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_POLLER_H_
