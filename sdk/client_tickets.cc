// Client's calls about tickets.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "protocol/limits.h"
#include "sdk/client_impl.h"
#include "sdk/publication_state.h"

namespace kvferry {

using protocol::kKeysPerMessageMax;
namespace wire = protocol::wire;

namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(5);

std::vector<uint8_t> BytesOf(absl::string_view bytes) {
  return {bytes.begin(), bytes.end()};
}

std::string StringOf(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

absl::Status CheckTicket(const Ticket& ticket) {
  if (!ticket.bytes.empty() &&
      ticket.bytes.size() <= protocol::kTicketBytesMax) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("ticket: ", ticket.bytes.size(), " bytes, must be 1 to ",
                   protocol::kTicketBytesMax));
}

absl::Status CheckMint(const sdk::Attachment& attachment, uint32_t group,
                       size_t key_count, const TicketOptions& options) {
  if (key_count == 0 || key_count > protocol::kKeysPerCallMax) {
    return absl::InvalidArgumentError(absl::StrCat("ticket: ", key_count,
                                                   " keys, must be 1 to ",
                                                   protocol::kKeysPerCallMax));
  }
  const absl::Duration ttl_max = absl::Milliseconds(protocol::kTicketTtlMsMax);
  if (options.ttl < absl::Milliseconds(1) || options.ttl > ttl_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: ttl ", absl::FormatDuration(options.ttl),
                     ", must be 1ms to ", absl::FormatDuration(ttl_max)));
  }
  const sdk::SegmentTable& segments = attachment.segments();
  if (group >= segments.group_count()) {
    return absl::InvalidArgumentError(absl::StrCat("ticket: group ", group,
                                                   ", the namespace has ",
                                                   segments.group_count()));
  }
  if (options.tail_tokens >= segments.group(group).block_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: a tail of ", options.tail_tokens,
        " tokens, must be fewer than the ", segments.group(group).block_tokens,
        " of a block of group ", group));
  }
  if (options.hand_over.size() > protocol::kHandOverBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: hand-over data of ", options.hand_over.size(),
                     " bytes, the limit is ", protocol::kHandOverBytesMax));
  }
  return absl::OkStatus();
}

absl::Status ReleaseOnce(sdk::Attachment& attachment, const Ticket& ticket,
                         absl::Time deadline) {
  wire::ReleaseTicketT request;
  request.ticket = BytesOf(ticket.bytes);
  return attachment.connection()
      ->Ask<wire::DoneT>(std::move(request), deadline)
      .status();
}

// `handle` of the publication that brings the blocks; 0: they are there.
absl::StatusOr<Ticket> Mint(sdk::Attachment& attachment, uint32_t group,
                            std::span<const BlockKey> keys,
                            const TicketOptions& options, uint32_t handle,
                            absl::Time deadline) {
  Ticket ticket;
  for (size_t done = 0; done < keys.size();) {
    const size_t count =
        std::min<size_t>(keys.size() - done, kKeysPerMessageMax);
    wire::MintTicketT request;
    request.group = static_cast<uint8_t>(group);
    request.keys.reserve(count);
    for (const BlockKey& key : keys.subspan(done, count)) {
      request.keys.emplace_back(key.lo, key.hi);
    }
    if (done == 0) {
      request.consumers = options.consumers;
      request.ttl_ms =
          static_cast<uint32_t>(absl::ToInt64Milliseconds(options.ttl));
      request.in_flight = handle != 0;
      request.handle = handle;
      request.hand_over = BytesOf(options.hand_over);
    } else {
      request.extend = BytesOf(ticket.bytes);
    }
    // It ends a ticket, so it comes with the last keys.
    if (done + count == keys.size()) request.tail_tokens = options.tail_tokens;
    absl::StatusOr<std::unique_ptr<wire::TicketT>> answer =
        attachment.connection()->Ask<wire::TicketT>(std::move(request),
                                                    deadline);
    if (!answer.ok()) {
      // Nobody will ever use the part that there is.
      for (uint32_t i = 0; done > 0 && i < options.consumers; ++i) {
        if (!ReleaseOnce(attachment, ticket, deadline).ok()) break;
      }
      return answer.status();
    }
    ticket.bytes = StringOf((*answer)->bytes);
    done += count;
  }
  return ticket;
}

}  // namespace

absl::StatusOr<Ticket> Client::MintTicket(uint32_t group,
                                          std::span<const BlockKey> keys,
                                          const TicketOptions& options) {
  if (impl_->forked()) return sdk::ForkedError();
  const std::shared_ptr<sdk::Attachment> attachment = impl_->attachment();
  KVFERRY_RETURN_IF_ERROR(CheckMint(*attachment, group, keys.size(), options));
  return Mint(*attachment, group, keys, options, /*handle=*/0,
              absl::Now() + kCallTimeout);
}

absl::StatusOr<Ticket> Client::MintTicket(const Publication& publication,
                                          uint32_t group,
                                          std::span<const BlockKey> keys,
                                          const TicketOptions& options) {
  if (impl_->forked()) return sdk::ForkedError();
  if (publication.state_ == nullptr) {
    return absl::FailedPreconditionError(
        "ticket: the publication was moved from");
  }
  const std::shared_ptr<sdk::Attachment> attachment = impl_->attachment();
  KVFERRY_RETURN_IF_ERROR(CheckMint(*attachment, group, keys.size(), options));
  const absl::Time deadline = absl::Now() + kCallTimeout;
  KVFERRY_ASSIGN_OR_RETURN(
      const uint32_t handle,
      publication.state_->WaitForHandle(*attachment, deadline));
  return Mint(*attachment, group, keys, options, handle, deadline);
}

absl::StatusOr<TicketContent> Client::RedeemTicket(const Ticket& ticket) {
  if (impl_->forked()) return sdk::ForkedError();
  KVFERRY_RETURN_IF_ERROR(CheckTicket(ticket));
  const std::shared_ptr<sdk::Attachment> attachment = impl_->attachment();
  const absl::Time deadline = absl::Now() + kCallTimeout;
  TicketContent content;
  uint32_t key_count = 0;
  do {
    wire::RedeemTicketT request;
    request.ticket = BytesOf(ticket.bytes);
    request.first_key = static_cast<uint32_t>(content.keys.size());
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::TicketKeysT> page,
                             attachment->connection()->Ask<wire::TicketKeysT>(
                                 std::move(request), deadline));
    key_count = page->key_count;
    if (page->keys.empty() || key_count > protocol::kKeysPerCallMax) {
      return absl::InternalError(absl::StrCat(
          "ticket: the daemon sent ", page->keys.size(), " keys from ",
          content.keys.size(), " on, of ", key_count));
    }
    if (content.keys.empty()) content.hand_over = StringOf(page->hand_over);
    for (const wire::Key& key : page->keys) {
      content.keys.push_back({key.lo(), key.hi()});
    }
    // Of the last page: what was extended meanwhile has its tail there.
    content.group = page->group;
    content.tail_tokens = page->tail_tokens;
    content.publication = {.slot = page->publication_slot,
                           .generation = page->publication_generation};
  } while (content.keys.size() < key_count);
  return content;
}

absl::Status Client::ReleaseTicket(const Ticket& ticket) {
  if (impl_->forked()) return sdk::ForkedError();
  KVFERRY_RETURN_IF_ERROR(CheckTicket(ticket));
  return ReleaseOnce(*impl_->attachment(), ticket, absl::Now() + kCallTimeout);
}

}  // namespace kvferry
