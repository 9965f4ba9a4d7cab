// Handing blocks to another process.

#include "kvferry/ticket.h"

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "kvferry/kvferry.h"
#include "protocol/limits.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/sized_structs.h"

// A value of its own: the client it came from is not needed for it.
struct kvf_ticket_content {
  kvferry::TicketContent content;
  const kvferry::ForkGuard guard;

  const kvferry::ForkGuard& fork_guard() const { return guard; }
};

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

static_assert(KVF_TICKET_BYTES_MAX == protocol::kTicketBytesMax);
// Four letters for three bytes, and the NUL.
static_assert(KVF_TICKET_TEXT_MAX > (KVF_TICKET_BYTES_MAX + 2) / 3 * 4);
static_assert(offsetof(kvf_ticket, bytes) == 4 && sizeof(kvf_ticket) == 260);

absl::StatusOr<Ticket> FromC(const kvf_ticket* ticket) {
  KVFERRY_RETURN_IF_ERROR(NotNull(ticket, "ticket"));
  if (ticket->length == 0 || ticket->length > KVF_TICKET_BYTES_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("kvf_ticket.length is ", ticket->length, ", must be 1 to ",
                     KVF_TICKET_BYTES_MAX));
  }
  Ticket result;
  result.bytes.assign(reinterpret_cast<const char*>(ticket->bytes),
                      ticket->length);
  return result;
}

absl::Status ToC(const Ticket& ticket, kvf_ticket* target) {
  if (ticket.bytes.size() > KVF_TICKET_BYTES_MAX) {
    return absl::InternalError(absl::StrCat("a ticket of ", ticket.bytes.size(),
                                            " bytes, at most ",
                                            KVF_TICKET_BYTES_MAX));
  }
  *target = {};
  target->length = static_cast<uint32_t>(ticket.bytes.size());
  std::memcpy(target->bytes, ticket.bytes.data(), ticket.bytes.size());
  return absl::OkStatus();
}

absl::StatusOr<TicketOptions> ToTicketOptions(
    const kvf_ticket_options* options) {
  kvf_ticket_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadOptional(options, &read));
  KVFERRY_RETURN_IF_ERROR(NotNull(read.hand_over.data, read.hand_over.length,
                                  "kvf_ticket_options.hand_over.data"));
  TicketOptions result;
  if (read.consumers != 0) result.consumers = read.consumers;
  if (read.ttl_ns != 0) result.ttl = absl::Nanoseconds(read.ttl_ns);
  result.tail_tokens = read.tail_tokens;
  result.hand_over = std::string(TextOf(read.hand_over));
  return result;
}

}  // namespace

extern "C" {

kvf_status kvf_ticket_mint(kvf_client* client,
                           const kvf_publication* publication, uint32_t group,
                           const kvf_key* keys, size_t key_count,
                           const kvf_ticket_options* options,
                           kvf_ticket* ticket) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(NotNull(keys, key_count, "keys"));
    KVFERRY_RETURN_IF_ERROR(NotNull(ticket, "ticket"));
    KVFERRY_ASSIGN_OR_RETURN(const TicketOptions mint,
                             ToTicketOptions(options));
    Client& from = *client->shared->client;
    if (publication == nullptr) {
      KVFERRY_ASSIGN_OR_RETURN(
          const Ticket minted,
          from.MintTicket(group, KeySpan(keys, key_count), mint));
      return ToC(minted, ticket);
    }
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_ASSIGN_OR_RETURN(const Ticket minted,
                             from.MintTicket(publication->publication, group,
                                             KeySpan(keys, key_count), mint));
    return ToC(minted, ticket);
  });
}

kvf_status kvf_ticket_redeem(kvf_client* client, const kvf_ticket* ticket,
                             kvf_ticket_content** content) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(content, "content"));
    *content = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_ASSIGN_OR_RETURN(const Ticket redeemed, FromC(ticket));
    KVFERRY_ASSIGN_OR_RETURN(TicketContent found,
                             client->shared->client->RedeemTicket(redeemed));
    *content = new kvf_ticket_content{.content = std::move(found), .guard = {}};
    return absl::OkStatus();
  });
}

void kvf_ticket_content_destroy(kvf_ticket_content* content) { delete content; }

kvf_status kvf_ticket_content_get(const kvf_ticket_content* content,
                                  kvf_ticket_content_info* info) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(content, "content"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(info));
    const TicketContent& from = content->content;
    kvf_ticket_content_info result = {};
    result.keys = reinterpret_cast<const kvf_key*>(from.keys.data());
    result.key_count = from.keys.size();
    result.hand_over = {from.hand_over.data(), from.hand_over.size()};
    result.group = from.group;
    result.tail_tokens = from.tail_tokens;
    result.hint_slot = from.publication.slot;
    result.hint_generation = from.publication.generation;
    WriteSized(result, info);
    return absl::OkStatus();
  });
}

kvf_status kvf_ticket_release(kvf_client* client, const kvf_ticket* ticket) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_ASSIGN_OR_RETURN(const Ticket released, FromC(ticket));
    return client->shared->client->ReleaseTicket(released);
  });
}

kvf_status kvf_ticket_to_text(const kvf_ticket* ticket, char* text) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(text, "text"));
    KVFERRY_ASSIGN_OR_RETURN(const Ticket from, FromC(ticket));
    const std::string letters = TicketToText(from);
    std::memcpy(text, letters.c_str(), letters.size() + 1);
    return absl::OkStatus();
  });
}

kvf_status kvf_ticket_from_text(const char* text, kvf_ticket* ticket) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(text, "text"));
    KVFERRY_RETURN_IF_ERROR(NotNull(ticket, "ticket"));
    KVFERRY_ASSIGN_OR_RETURN(const Ticket from, TicketFromText(text));
    return ToC(from, ticket);
  });
}

}  // extern "C"
