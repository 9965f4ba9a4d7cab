#ifndef KVFERRY_DAEMON_CONTROL_REQUESTS_H_
#define KVFERRY_DAEMON_CONTROL_REQUESTS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/control/connection.h"
#include "daemon/control/node.h"
#include "protocol/control_generated.h"

namespace kvferry::control {

namespace wire = protocol::wire;

// One message of a client and whom it is answered to.
struct Request {
  Node& node;
  Connection& connection;
  uint32_t id = 0;
  uint64_t now_ms = 0;

  // The session of the connection, or null.
  ClientSession* session() const {
    return connection.session() ? node.FindSession(*connection.session())
                                : nullptr;
  }
};

// Answers a message, on the connection. What is refused gets an Error; what
// breaks the protocol (a message out of order, one that only daemons send)
// closes the connection for cause.
void Dispatch(const Request& request, const wire::MessageT& message);

// Text of a client as it may stand in a log: printable, at most 64 bytes.
std::string PrintableName(absl::string_view text);
// The same for an error message that may quote one.
std::string PrintableMessage(absl::string_view text);

// --- attach.cc ---
void HandleAttach(const Request& request, const wire::AttachT& attach);
void HandleDetach(const Request& request);

// --- progress.cc, tickets.cc: a session's; `session` is the connection's ---
void HandleGetProgress(const Request& request, ClientSession& session,
                       const wire::GetProgressT& get);
void HandleMintTicket(const Request& request, ClientSession& session,
                      const wire::MintTicketT& mint);
void HandleRedeemTicket(const Request& request, ClientSession& session,
                        const wire::RedeemTicketT& redeem);
void HandleReleaseTicket(const Request& request, ClientSession& session,
                         const wire::ReleaseTicketT& release);
// --- gpu_requests.cc: likewise ---
void HandleOpenGpu(const Request& request, ClientSession& session,
                   const wire::OpenGpuT& open);
// --- admin.cc: a session clears its own namespace ---
void HandleClearOwn(const Request& request, const ClientSession& session);

// --- status.cc, gpu_requests.cc, admin.cc: operators' ---
void HandleGetStatus(const Request& request);
void HandleGetNamespaces(const Request& request,
                         const wire::GetNamespacesT& get);
void HandleGetGpus(const Request& request, const wire::GetGpusT& get);
void HandleGetSessions(const Request& request, const wire::GetSessionsT& get);
void HandleCreateNamespace(const Request& request,
                           const wire::CreateNamespaceT& create);
void HandleGetBlocks(const Request& request, const wire::GetBlocksT& get);
void HandleEvict(const Request& request, const wire::EvictT& evict);
void HandleClear(const Request& request, const wire::ClearT& clear);

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_REQUESTS_H_
