#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/hex.h"
#include "base/status.h"
#include "daemon/control/access.h"
#include "daemon/control/requests.h"
#include "protocol/framing.h"
#include "protocol/limits.h"
#include "protocol/shm_layout.h"
#include "protocol/spec.h"

namespace kvferry::control {
namespace {

template <typename Bytes>
std::vector<uint8_t> ToWireBytes(const Bytes& bytes) {
  std::vector<uint8_t> result(bytes.size());
  std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

absl::Status CheckVersions(const wire::AttachT& attach) {
  if (attach.protocol_version != protocol::kProtocolVersion ||
      attach.layout_version != protocol::kLayoutVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the client speaks protocol ", attach.protocol_version, " and layout ",
        attach.layout_version, ", the daemon protocol ",
        protocol::kProtocolVersion, " and layout ", protocol::kLayoutVersion));
  }
  return absl::OkStatus();
}

// The client computes the fingerprint by itself: a difference with equal
// fields means that it understands pages otherwise.
absl::Status CheckFingerprint(const wire::AttachT& attach,
                              const NamespaceSpec& spec) {
  const protocol::Fingerprint ours = protocol::FingerprintOf(spec);
  const std::span<const std::byte> theirs =
      std::as_bytes(std::span(attach.fingerprint));
  if (!std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "namespace \"", PrintableName(spec.name),
        "\": the client's fingerprint ",
        HexEncode(theirs.first(std::min<size_t>(theirs.size(), ours.size()))),
        " is not the daemon's for the same fields, ", HexEncode(ours)));
  }
  return absl::OkStatus();
}

absl::Status CheckAccess(const Request& request, const std::string& name,
                         bool publish) {
  const config::Config& config = request.node.config();
  const Peer& peer = request.connection.peer();
  if (publish ? MayPublish(config, name, peer) : MayRead(config, name, peer)) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat(
      "namespace \"", PrintableName(name), "\": user ", peer.uid,
      " is not on its access list to ", publish ? "publish" : "read"));
}

// The namespace that the client asks for, made when need be.
absl::StatusOr<NamespaceHost*> Enter(const Request& request,
                                     const wire::AttachT& attach) {
  KVFERRY_RETURN_IF_ERROR(CheckVersions(attach));
  if (attach.spec == nullptr || attach.spec->name.empty()) {
    return absl::InvalidArgumentError("attach: no namespace is named");
  }
  core::Catalog::AttachRequest asked;
  if (attach.spec->name.size() > protocol::kNamespaceNameBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attach: a namespace's name of ", attach.spec->name.size(),
        " bytes, the limit is ", protocol::kNamespaceNameBytesMax));
  }
  asked.spec = protocol::FromWire(*attach.spec);
  asked.accept_existing = attach.accept_existing;
  const bool publish = attach.access == wire::Access::Publish;
  KVFERRY_RETURN_IF_ERROR(CheckAccess(request, asked.spec.name, publish));
  // Who may only read a namespace makes none.
  asked.create = attach.create &&
                 (publish || MayPublish(request.node.config(), asked.spec.name,
                                        request.connection.peer()));
  if (!attach.accept_existing) {
    KVFERRY_RETURN_IF_ERROR(protocol::ValidateSpec(asked.spec));
    KVFERRY_RETURN_IF_ERROR(CheckFingerprint(attach, asked.spec));
  }
  KVFERRY_ASSIGN_OR_RETURN(const core::Catalog::AttachDecision decision,
                           request.node.catalog().Attach(asked));
  if (decision.created)
    return request.node.MakeHost(decision.id, request.now_ms);
  NamespaceHost* host = request.node.FindHost(decision.id);
  if (host == nullptr) {
    return absl::InternalError(
        absl::StrCat("namespace ", decision.id, " has no memory"));
  }
  return host;
}

wire::AttachedT Describe(const Node& node, const NamespaceHost& host,
                         const ClientSession& session) {
  const core::Catalog::Entry& entry = host.entry();
  wire::AttachedT attached;
  attached.epoch = node.identity().epoch;
  attached.session = session.number;
  attached.namespace_id = entry.id;
  attached.spec =
      std::make_unique<wire::NamespaceSpecT>(protocol::ToWire(entry.spec));
  attached.fingerprint = ToWireBytes(entry.fingerprint);
  attached.salt = ToWireBytes(entry.salt);
  attached.block_capacity = host.geometry().block_capacity;
  attached.bucket_count = host.geometry().bucket_count;
  attached.quota_bytes = entry.quota_bytes;
  attached.node_id = ToWireBytes(node.identity().node_id);
  attached.segment_count = host.segment_count();
  return attached;
}

}  // namespace

void HandleAttach(const Request& request, const wire::AttachT& attach) {
  absl::StatusOr<NamespaceHost*> host = Enter(request, attach);
  absl::StatusOr<ClientSession*> session =
      host.ok()
          ? request.node.AddSession(
                *host, &request.connection, PrintableName(attach.client_name),
                attach.access == wire::Access::Publish, request.now_ms)
          : host.status();
  if (!session.ok()) {
    ++request.node.counters().sessions_refused;
    spdlog::warn("{} refused: {}", request.connection.peer().ToString(),
                 PrintableMessage(session.status().message()));
    return request.connection.ReplyError(request.id, session.status());
  }
  // Closed here once they are under way: what the client writes is the
  // client's.
  const UniqueFd client_file = (*session)->files.TakeClientFd();
  const UniqueFd progress = (*session)->files.progress().TakeClientFd();
  const int fds[] = {
      (*host)->files().index.reader_fd(),   (*host)->files().state.reader_fd(),
      (*session)->files.daemon_reader_fd(), client_file.get(),
      (*session)->doorbell.get(),           progress.get()};
  request.connection.Reply(request.id,
                           Describe(request.node, **host, **session), fds);
  (*host)->AnnounceSegments(**session);
  spdlog::info("{} attached to \"{}\" to {}", (*session)->ToString(),
               PrintableName((*host)->entry().spec.name),
               (*session)->may_publish ? "publish" : "read");
}

void HandleDetach(const Request& request) {
  request.node.RemoveSession(*request.connection.session(), "detached",
                             request.now_ms);
}

}  // namespace kvferry::control
