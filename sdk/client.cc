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

namespace {

// Of calls that take no deadline.
constexpr absl::Duration kCallTimeout = absl::Seconds(5);
// Blocks that Publish has under way before it commits them.
constexpr uint32_t kPublishChunk = 256;

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
  // What another publication is writing is left to it: this one is done at
  // once, so that a copy in reserve would be gone before it is needed.
  PublicationOptions options;
  options.standby = false;
  KVFERRY_ASSIGN_OR_RETURN(Publication publication, OpenPublication(options));
  sdk::PublicationState& state = *publication.state_;
  // Chunk by chunk: committed blocks can make room for the ones to come.
  const auto count = static_cast<uint32_t>(keys.size());
  uint32_t done = 0;
  do {
    const uint32_t chunk = std::min(count - done, kPublishChunk);
    KVFERRY_RETURN_IF_ERROR(state
                                .Begin(group,
                                       done == 0 ? parent : keys[done - 1],
                                       keys.subspan(done, chunk),
                                       /*tail_tokens=*/0, deadline)
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

absl::StatusOr<uint64_t> Client::Clear(absl::Time deadline) {
  if (impl_->forked()) return sdk::ForkedError();
  if (!impl_->options().publish) {
    return absl::PermissionDeniedError(
        "clear: attached without AttachOptions::publish");
  }
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<protocol::wire::ClearedT> answer,
      impl_->attachment()->connection()->Ask<protocol::wire::ClearedT>(
          protocol::wire::ClearT(), deadline));
  return answer->content_epoch;
}

}  // namespace kvferry
