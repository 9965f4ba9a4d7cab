#ifndef KVFERRY_DAEMON_CONTROL_ACCESS_H_
#define KVFERRY_DAEMON_CONTROL_ACCESS_H_

#include "absl/strings/string_view.h"
#include "daemon/config/config.h"
#include "daemon/control/peer.h"

namespace kvferry::control {

// Root and the daemon's own user: may administer, and enter any namespace.
bool IsOperator(const Peer& peer);

// Whether the peer may read the namespace, or publish into it (and make it).
bool MayRead(const config::Config& config, absl::string_view namespace_name,
             const Peer& peer);
bool MayPublish(const config::Config& config, absl::string_view namespace_name,
                const Peer& peer);

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_ACCESS_H_
