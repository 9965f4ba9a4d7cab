#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "daemon/control/requests.h"
#include "daemon/core/ticket.h"
#include "protocol/limits.h"
#include "protocol/shm_layout.h"

namespace kvferry::control {
namespace {

// Keys and hand-over data go in one message.
static_assert(protocol::kKeysPerMessageMax * 16 + protocol::kHandOverBytesMax +
                  1024 <
              protocol::kMessageBytesMax);

// What the core cannot check: it knows neither messages nor time to live.
absl::Status CheckMint(const wire::MintTicketT& mint) {
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

absl::StatusOr<std::vector<BlockKey>> KeysOf(const wire::MintTicketT& mint) {
  if (mint.keys.empty() || mint.keys.size() > protocol::kKeysPerMessageMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: ", mint.keys.size(), " keys, the limits are 1 and ",
        protocol::kKeysPerMessageMax, " a message"));
  }
  std::vector<BlockKey> keys;
  keys.reserve(mint.keys.size());
  for (const wire::Key& key : mint.keys) keys.push_back({key.lo(), key.hi()});
  return keys;
}

// What a ticket of this daemon and of the session's namespace says.
absl::StatusOr<core::TicketClaims> ClaimsOf(
    const Request& request, const ClientSession& session,
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
  return claims;
}

absl::StatusOr<core::TicketClaims> MintNew(const Request& request,
                                           ClientSession& session,
                                           const wire::MintTicketT& mint,
                                           std::span<const BlockKey> keys) {
  KVFERRY_RETURN_IF_ERROR(CheckMint(mint));
  // What the session submitted before it asked counts: opens and commits.
  request.node.PumpAll(&session, request.now_ms);
  core::LeaseRequest lease;
  lease.group = mint.group;
  lease.keys = keys;
  lease.consumers = mint.consumers;
  lease.deadline_ms = request.now_ms + mint.ttl_ms;
  lease.tail_tokens = mint.tail_tokens;
  lease.in_flight = mint.in_flight;
  lease.session = session.number;
  lease.handle = mint.handle;
  lease.hand_over.assign(mint.hand_over.begin(), mint.hand_over.end());
  core::TicketClaims claims;
  KVFERRY_ASSIGN_OR_RETURN(claims.lease, session.host->core().HoldLease(lease));
  const NodeIdentity& identity = request.node.identity();
  claims.node = identity.node_id;
  claims.epoch = identity.epoch;
  claims.namespace_id = session.host->entry().id;
  claims.block_count = static_cast<uint32_t>(keys.size());
  claims.expiry_unix_ms = static_cast<uint64_t>(
      absl::ToUnixMillis(absl::Now() + absl::Milliseconds(mint.ttl_ms)));
  return claims;
}

absl::StatusOr<core::TicketClaims> Extend(const Request& request,
                                          ClientSession& session,
                                          const wire::MintTicketT& mint,
                                          std::span<const BlockKey> keys) {
  core::NamespaceCore& core = session.host->core();
  KVFERRY_ASSIGN_OR_RETURN(core::TicketClaims claims,
                           ClaimsOf(request, session, mint.extend));
  KVFERRY_RETURN_IF_ERROR(
      core.ExtendLease(claims.lease, session.number, keys, mint.tail_tokens));
  // The lease's, not the old ticket's: that may have been extended already.
  claims.block_count =
      static_cast<uint32_t>(core.FindLease(claims.lease)->keys.size());
  return claims;
}

absl::StatusOr<std::string> Mint(const Request& request, ClientSession& session,
                                 const wire::MintTicketT& mint) {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<BlockKey> keys, KeysOf(mint));
  absl::StatusOr<core::TicketClaims> claims =
      mint.extend.empty() ? MintNew(request, session, mint, keys)
                          : Extend(request, session, mint, keys);
  if (!claims.ok()) return claims.status();
  claims->last_key = keys.back();
  return core::SealTicket(*claims, request.node.identity().secret);
}

absl::StatusOr<wire::TicketKeysT> Redeem(const Request& request,
                                         ClientSession& session,
                                         const wire::RedeemTicketT& redeem) {
  const core::NamespaceCore& core = session.host->core();
  KVFERRY_ASSIGN_OR_RETURN(const core::TicketClaims claims,
                           ClaimsOf(request, session, redeem.ticket));
  const core::Lease* lease = core.FindLease(claims.lease);
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
  reply.tail_tokens = lease->tail_tokens;
  const protocol::PublicationRef publication = core.Follow(*lease);
  reply.publication_slot = publication.slot;
  reply.publication_generation = publication.generation;
  if (redeem.first_key == 0) {
    const std::string hand_over = core.HandOverOf(*lease);
    reply.hand_over.assign(hand_over.begin(), hand_over.end());
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
  const absl::StatusOr<core::TicketClaims> claims =
      ClaimsOf(request, session, release.ticket);
  const absl::Status released =
      claims.ok() ? session.host->core().ReleaseLease(claims->lease)
                  : claims.status();
  if (!released.ok()) {
    return request.connection.ReplyError(request.id, released);
  }
  request.connection.Reply(request.id, wire::DoneT());
}

}  // namespace kvferry::control
