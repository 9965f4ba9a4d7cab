#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/control/requests.h"
#include "daemon/memory/progress_file.h"

// Whom the progress files of sessions are given to: the sessions of the same
// namespace, once nobody can write them but by the mapping of their client.
namespace kvferry::control {
namespace {

absl::StatusOr<ClientSession*> Find(const Request& request,
                                    const ClientSession& session,
                                    uint8_t file) {
  // A descriptor in the outbox is one more of the daemon's own, and nothing
  // else bounds how many of them one client asks for.
  if (request.connection.backlogged()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "progress file ", file, ": read the replies that wait for you first"));
  }
  KVFERRY_ASSIGN_OR_RETURN(const uint16_t number,
                           session.host->core().SessionOfProgressFile(file));
  ClientSession* const found = request.node.FindSession(number);
  if (found == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("progress file ", file, ": there is no session ", number));
  }
  if (!found->files.progress().sealed()) {
    return absl::FailedPreconditionError(
        absl::StrCat("progress file ", file, ": session ", number,
                     " has not sealed it against writing"));
  }
  return found;
}

}  // namespace

void HandleGetProgress(const Request& request, ClientSession& session,
                       const wire::GetProgressT& get) {
  const absl::StatusOr<ClientSession*> found = Find(request, session, get.file);
  if (!found.ok()) {
    return request.connection.ReplyError(request.id, found.status());
  }
  wire::ProgressFileT reply;
  reply.file = get.file;
  reply.session = (*found)->number;
  const int fd = (*found)->files.progress().reader_fd();
  request.connection.Reply(request.id, std::move(reply), std::span(&fd, 1));
}

}  // namespace kvferry::control
