#include "kvferry/client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/limits.h"
#include "sdk/client_impl.h"
#include "sdk/publication_state.h"

namespace kvferry {

using protocol::kKeysPerMessageMax;
namespace wire = protocol::wire;

namespace {

// Of calls that take no deadline.
constexpr absl::Duration kCallTimeout = absl::Seconds(5);
// Blocks that Publish has under way before it commits them.
constexpr uint32_t kPublishChunk = 256;

std::vector<uint8_t> BytesOf(const Ticket& ticket) {
  return {ticket.bytes.begin(), ticket.bytes.end()};
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

}  // namespace

Client::Client(std::unique_ptr<sdk::ClientImpl> impl)
    : impl_(std::move(impl)) {}

Client::~Client() {
  // In a forked child there is no background thread to join and nothing that
  // is mapped: all of it is the parent's.
  if (impl_ != nullptr && impl_->forked()) (void)impl_.release();
}

absl::StatusOr<std::unique_ptr<Client>> Client::Attach(
    const AttachOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<sdk::ClientImpl> impl,
                           sdk::ClientImpl::Attach(options));
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

NamespaceInfo Client::info() const {
  if (impl_->forked()) return {};  // its mutex may have been held at the fork
  return impl_->attachment()->info();
}

bool Client::connected() const {
  return !impl_->forked() && impl_->connected();
}

absl::StatusOr<Publication> Client::OpenPublication(
    const PublicationOptions& options) {
  if (impl_->forked()) return sdk::ForkedError();
  if (!impl_->options().publish) {
    return absl::PermissionDeniedError(
        "publish: attached without AttachOptions::publish");
  }
  if (!impl_->connected()) {
    return absl::UnavailableError("publish: the daemon is away");
  }
  KVFERRY_ASSIGN_OR_RETURN(
      std::unique_ptr<sdk::PublicationState> state,
      sdk::PublicationState::Open(impl_->attachment(), options,
                                  absl::Now() + kCallTimeout));
  return Publication(std::move(state));
}

absl::StatusOr<uint32_t> Client::Publish(
    uint32_t group, const BlockKey& parent, std::span<const BlockKey> keys,
    std::span<const std::byte* const> sources, absl::Time deadline) {
  if (keys.size() != sources.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("publish: ", keys.size(), " keys and ", sources.size(),
                     " sources, counts must be equal"));
  }
  if (keys.size() > protocol::kKeysPerCallMax) {
    return absl::InvalidArgumentError(absl::StrCat("publish: ", keys.size(),
                                                   " keys, must be 1 to ",
                                                   protocol::kKeysPerCallMax));
  }
  KVFERRY_ASSIGN_OR_RETURN(Publication publication, OpenPublication());
  sdk::PublicationState& state = *publication.state_;
  // Chunk by chunk: committed blocks can make room for the ones to come.
  const auto count = static_cast<uint32_t>(keys.size());
  uint32_t done = 0;
  do {
    const uint32_t chunk = std::min(count - done, kPublishChunk);
    KVFERRY_RETURN_IF_ERROR(state
                                .Begin(group,
                                       done == 0 ? parent : keys[done - 1],
                                       keys.subspan(done, chunk), deadline)
                                .status());
    for (uint32_t p = done; p < done + chunk; ++p) {
      const std::span<std::byte> block = state.block(p);
      if (!block.empty()) CopyBytes(block.data(), sources[p], block.size());
    }
    KVFERRY_RETURN_IF_ERROR(state.Commit(done, chunk));
    done += chunk;
  } while (done < count);
  KVFERRY_RETURN_IF_ERROR(state.WaitForAnswers(deadline));
  return state.CountVisible(0, count);
}

absl::StatusOr<Ticket> Client::MintTicket(uint32_t group,
                                          std::span<const BlockKey> keys,
                                          const TicketOptions& options) {
  if (impl_->forked()) return sdk::ForkedError();
  if (keys.empty() || keys.size() > kKeysPerMessageMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: ", keys.size(), " keys, must be 1 to ", kKeysPerMessageMax));
  }
  const absl::Duration ttl_max = absl::Milliseconds(protocol::kTicketTtlMsMax);
  if (options.ttl < absl::Milliseconds(1) || options.ttl > ttl_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: ttl ", absl::FormatDuration(options.ttl),
                     ", must be 1ms to ", absl::FormatDuration(ttl_max)));
  }
  const std::shared_ptr<sdk::Attachment> attachment = impl_->attachment();
  if (group >= attachment->segments().group_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: group ", group, ", the namespace has ",
                     attachment->segments().group_count()));
  }
  wire::MintTicketT request;
  request.group = static_cast<uint8_t>(group);
  request.consumers = options.consumers;
  request.ttl_ms =
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options.ttl));
  request.keys.reserve(keys.size());
  for (const BlockKey& key : keys) request.keys.emplace_back(key.lo, key.hi);
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::TicketT> answer,
                           attachment->connection()->Ask<wire::TicketT>(
                               std::move(request), absl::Now() + kCallTimeout));
  Ticket ticket;
  ticket.bytes.assign(answer->bytes.begin(), answer->bytes.end());
  return ticket;
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
    request.ticket = BytesOf(ticket);
    request.first_key = static_cast<uint32_t>(content.keys.size());
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::TicketKeysT> page,
                             attachment->connection()->Ask<wire::TicketKeysT>(
                                 std::move(request), deadline));
    content.group = page->group;
    key_count = page->key_count;
    if (page->keys.empty() || key_count > protocol::kKeysPerCallMax) {
      return absl::InternalError(absl::StrCat(
          "ticket: the daemon sent ", page->keys.size(), " keys from ",
          content.keys.size(), " on, of ", key_count));
    }
    for (const wire::Key& key : page->keys) {
      content.keys.push_back({key.lo(), key.hi()});
    }
  } while (content.keys.size() < key_count);
  return content;
}

absl::Status Client::ReleaseTicket(const Ticket& ticket) {
  if (impl_->forked()) return sdk::ForkedError();
  KVFERRY_RETURN_IF_ERROR(CheckTicket(ticket));
  wire::ReleaseTicketT request;
  request.ticket = BytesOf(ticket);
  return impl_->attachment()
      ->connection()
      ->Ask<wire::DoneT>(std::move(request), absl::Now() + kCallTimeout)
      .status();
}

}  // namespace kvferry
