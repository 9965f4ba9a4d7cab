#ifndef KVFERRY_DAEMON_CONTROL_CLIENT_SESSION_H_
#define KVFERRY_DAEMON_CONTROL_CLIENT_SESSION_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "daemon/control/session_rings.h"
#include "daemon/memory/session_files.h"

namespace kvferry::control {

class Connection;
class NamespaceHost;

// One attached client, from Attach until the daemon knows that it touches
// nothing of the namespace any more.
//
//  1. kServed   its rings are pumped.
//  2. kAdrift   its socket is closed, without a Detach: it may still read what
//               it has pinned, so pins and grants stand; its rings are pumped.
//  3. kRevoked  it broke the protocol: likewise, but nothing more is taken
//               from it, and its `revoked` word tells its threads.
//  Removed      on Detach; when its process is gone; when it is adrift or
//               revoked and holds no lock on its file any more.
struct ClientSession {
  enum class Phase { kServed, kAdrift, kRevoked };

  ClientSession(uint16_t session_number, memory::SessionFiles session_files)
      : number(session_number),
        files(std::move(session_files)),
        rings(number, files) {}
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;

  // "session 3 (engine-0) of pid 7 of user 1000", for logs.
  std::string ToString() const;

  const uint16_t number;
  memory::SessionFiles files;
  SessionRings rings;
  NamespaceHost* host = nullptr;
  // Null when its socket is closed.
  Connection* connection = nullptr;
  Phase phase = Phase::kServed;
  std::string client_name;  // printable
  bool may_publish = false;
  // The number of the GPU that it opened.
  std::optional<uint32_t> gpu;
  pid_t pid = 0;
  uid_t uid = 0;
  uint64_t attached_ms = 0;
  UniqueFd pidfd;
  // An eventfd that the client has too and may do with what it likes, making
  // it blocking, say. So the daemon only ever polls it, edge-triggered: each
  // ring is an edge, and reading it could block.
  UniqueFd doorbell;
  // Since when a run waits for room in the reply ring; 0: none does.
  uint64_t starved_since_ms = 0;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_CLIENT_SESSION_H_
