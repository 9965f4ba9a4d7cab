#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "daemon/control/requests.h"
#include "daemon/core/ticket.h"
#include "protocol/limits.h"

namespace kvferry::control {
namespace {

absl::Status CheckMint(const wire::MintTicketT& mint,
                       const protocol::Geometry& geometry) {
  if (mint.group >= geometry.groups.size()) {
    return absl::InvalidArgumentError(absl::StrCat("ticket: group ", mint.group,
                                                   ", the namespace has ",
                                                   geometry.groups.size()));
  }
  if (mint.keys.empty() || mint.keys.size() > protocol::kKeysPerCallMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: ", mint.keys.size(), " keys, the limits are 1 and ",
        protocol::kKeysPerCallMax));
  }
  if (mint.consumers == 0 || mint.consumers > protocol::kTicketConsumersMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: ", mint.consumers, " consumers, the limits are 1 and ",
        protocol::kTicketConsumersMax));
  }
  if (mint.ttl_ms == 0 || mint.ttl_ms > protocol::kTicketTtlMsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: valid for ", mint.ttl_ms,
                     " ms, the limits are 1 and ", protocol::kTicketTtlMsMax));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Mint(const Request& request, ClientSession& session,
                                 const wire::MintTicketT& mint) {
  core::NamespaceCore& core = session.host->core();
  KVFERRY_RETURN_IF_ERROR(CheckMint(mint, core.geometry()));
  std::vector<BlockKey> keys;
  keys.reserve(mint.keys.size());
  for (const wire::Key& key : mint.keys) keys.push_back({key.lo(), key.hi()});
  core::TicketClaims claims;
  KVFERRY_ASSIGN_OR_RETURN(claims.lease,
                           core.HoldLease(mint.group, keys, mint.consumers,
                                          request.now_ms + mint.ttl_ms));
  const NodeIdentity& identity = request.node.identity();
  claims.node = identity.node_id;
  claims.epoch = identity.epoch;
  claims.namespace_id = session.host->entry().id;
  claims.last_key = keys.back();
  claims.block_count = static_cast<uint32_t>(keys.size());
  claims.expiry_unix_ms = static_cast<uint64_t>(
      absl::ToUnixMillis(absl::Now() + absl::Milliseconds(mint.ttl_ms)));
  return core::SealTicket(claims, identity.secret);
}

// The id of the lease behind a ticket that is of this daemon and of the
// session's namespace.
absl::StatusOr<uint64_t> LeaseOf(const Request& request,
                                 const ClientSession& session,
                                 const std::vector<uint8_t>& ticket) {
  if (ticket.size() > protocol::kTicketBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("ticket: ", ticket.size(),
                                                   " bytes, the limit is ",
                                                   protocol::kTicketBytesMax));
  }
  const NodeIdentity& identity = request.node.identity();
  KVFERRY_ASSIGN_OR_RETURN(
      const core::TicketClaims claims,
      core::OpenTicket(
          absl::string_view(reinterpret_cast<const char*>(ticket.data()),
                            ticket.size()),
          identity.secret));
  if (claims.node != identity.node_id) {
    return absl::PermissionDeniedError("ticket: of another node");
  }
  if (claims.epoch != identity.epoch) {
    return absl::PermissionDeniedError(
        absl::StrCat("ticket: of epoch ", claims.epoch, ", this daemon's is ",
                     identity.epoch));
  }
  if (claims.namespace_id != session.host->entry().id) {
    return absl::PermissionDeniedError("ticket: of another namespace");
  }
  return claims.lease;
}

absl::StatusOr<wire::TicketKeysT> Redeem(const Request& request,
                                         ClientSession& session,
                                         const wire::RedeemTicketT& redeem) {
  KVFERRY_ASSIGN_OR_RETURN(const uint64_t id,
                           LeaseOf(request, session, redeem.ticket));
  const core::Lease* lease = session.host->core().FindLease(id);
  if (lease == nullptr) {
    return absl::NotFoundError("ticket: expired or used up");
  }
  if (redeem.first_key >= lease->keys.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: key ", redeem.first_key, " of ",
                     lease->keys.size(), " asked for"));
  }
  wire::TicketKeysT reply;
  reply.group = static_cast<uint8_t>(lease->group);
  reply.key_count = static_cast<uint32_t>(lease->keys.size());
  const size_t end = std::min<size_t>(
      lease->keys.size(), redeem.first_key + protocol::kKeysPerMessageMax);
  for (size_t i = redeem.first_key; i < end; ++i) {
    reply.keys.emplace_back(lease->keys[i].lo, lease->keys[i].hi);
  }
  return reply;
}

}  // namespace

void HandleMintTicket(const Request& request, ClientSession& session,
                      const wire::MintTicketT& mint) {
  const absl::StatusOr<std::string> bytes = Mint(request, session, mint);
  if (!bytes.ok()) {
    return request.connection.ReplyError(request.id, bytes.status());
  }
  wire::TicketT ticket;
  ticket.bytes.assign(bytes->begin(), bytes->end());
  request.connection.Reply(request.id, std::move(ticket));
}

void HandleRedeemTicket(const Request& request, ClientSession& session,
                        const wire::RedeemTicketT& redeem) {
  absl::StatusOr<wire::TicketKeysT> keys = Redeem(request, session, redeem);
  if (!keys.ok()) {
    return request.connection.ReplyError(request.id, keys.status());
  }
  request.connection.Reply(request.id, *std::move(keys));
}

void HandleReleaseTicket(const Request& request, ClientSession& session,
                         const wire::ReleaseTicketT& release) {
  const absl::StatusOr<uint64_t> lease =
      LeaseOf(request, session, release.ticket);
  const absl::Status released =
      lease.ok() ? session.host->core().ReleaseLease(*lease) : lease.status();
  if (!released.ok()) {
    return request.connection.ReplyError(request.id, released);
  }
  request.connection.Reply(request.id, wire::DoneT());
}

}  // namespace kvferry::control
