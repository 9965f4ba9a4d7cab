#include "daemon/control/requests.h"

#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/control/access.h"

namespace kvferry::control {
namespace {

constexpr size_t kPrintableNameBytesMax = 64;
constexpr size_t kPrintableMessageBytesMax = 512;

std::string Printable(absl::string_view text, size_t bytes_max) {
  std::string printable(text.substr(0, bytes_max));
  for (char& c : printable) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return printable;
}

void CloseForCause(const Request& request, absl::string_view reason) {
  if (ClientSession* session = request.session(); session != nullptr) {
    request.node.RevokeSession(session, reason);
  } else {
    request.connection.Close(Connection::End::kForCause, reason);
  }
}

// Messages of a session. False: `message` is none.
bool DispatchToSession(const Request& request, const wire::MessageT& message) {
  const wire::BodyUnion& body = message.body;
  switch (body.type) {
    case wire::Body::Detach:
    case wire::Body::GetProgress:
    case wire::Body::OpenGpu:
    case wire::Body::MintTicket:
    case wire::Body::RedeemTicket:
    case wire::Body::ReleaseTicket:
      break;
    case wire::Body::Clear:
      // Otherwise it is an operator's.
      if (request.session() == nullptr ||
          !body.AsClear()->namespace_name.empty()) {
        return false;
      }
      break;
    default:
      return false;
  }
  ClientSession* session = request.session();
  if (session == nullptr) {
    CloseForCause(
        request, absl::StrCat(wire::EnumNameBody(body.type), " before Attach"));
    return true;
  }
  switch (body.type) {
    case wire::Body::Detach:
      HandleDetach(request);
      break;
    case wire::Body::GetProgress:
      HandleGetProgress(request, *session, *body.AsGetProgress());
      break;
    case wire::Body::OpenGpu:
      HandleOpenGpu(request, *session, *body.AsOpenGpu());
      break;
    case wire::Body::MintTicket:
      HandleMintTicket(request, *session, *body.AsMintTicket());
      break;
    case wire::Body::RedeemTicket:
      HandleRedeemTicket(request, *session, *body.AsRedeemTicket());
      break;
    case wire::Body::Clear:
      HandleClearOwn(request, *session);
      break;
    default:
      HandleReleaseTicket(request, *session, *body.AsReleaseTicket());
      break;
  }
  return true;
}

// Messages of an operator. False: `message` is none.
bool DispatchToOperator(const Request& request, const wire::MessageT& message) {
  const wire::BodyUnion& body = message.body;
  const bool permitted = IsOperator(request.connection.peer());
  const auto refuse = [&] {
    request.connection.ReplyError(
        request.id,
        absl::PermissionDeniedError(absl::StrCat(
            wire::EnumNameBody(body.type), ": user ",
            request.connection.peer().uid, " is neither root nor user ",
            ::geteuid(), ", whose daemon this is")));
    return true;
  };
  switch (body.type) {
    case wire::Body::GetStatus:
      if (!permitted) return refuse();
      HandleGetStatus(request);
      return true;
    case wire::Body::GetNamespaces:
      if (!permitted) return refuse();
      HandleGetNamespaces(request, *body.AsGetNamespaces());
      return true;
    case wire::Body::CreateNamespace:
      if (!permitted) return refuse();
      HandleCreateNamespace(request, *body.AsCreateNamespace());
      return true;
    case wire::Body::GetGpus:
      if (!permitted) return refuse();
      HandleGetGpus(request, *body.AsGetGpus());
      return true;
    case wire::Body::GetSessions:
      if (!permitted) return refuse();
      HandleGetSessions(request, *body.AsGetSessions());
      return true;
    case wire::Body::GetBlocks:
      if (!permitted) return refuse();
      HandleGetBlocks(request, *body.AsGetBlocks());
      return true;
    case wire::Body::Evict:
      if (!permitted) return refuse();
      HandleEvict(request, *body.AsEvict());
      return true;
    case wire::Body::Clear:
      if (!permitted) return refuse();
      HandleClear(request, *body.AsClear());
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string PrintableName(absl::string_view text) {
  return Printable(text, kPrintableNameBytesMax);
}

std::string PrintableMessage(absl::string_view text) {
  return Printable(text, kPrintableMessageBytesMax);
}

void Dispatch(const Request& request, const wire::MessageT& message) {
  if (message.body.type == wire::Body::Attach) {
    if (request.session() != nullptr) {
      return CloseForCause(request, "a second Attach");
    }
    return HandleAttach(request, *message.body.AsAttach());
  }
  if (DispatchToSession(request, message)) return;
  if (DispatchToOperator(request, message)) return;
  CloseForCause(request, absl::StrCat(wire::EnumNameBody(message.body.type),
                                      ", which only daemons send"));
}

}  // namespace kvferry::control
