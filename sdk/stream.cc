#include "kvferry/stream.h"

#include <utility>

#include "kvferry/client.h"
#include "sdk/client_impl.h"
#include "sdk/stream_state.h"

namespace kvferry {
namespace {

// In a forked child nothing of a stream is mapped, and its pins are the
// parent's: it must not be undone.
void Drop(std::unique_ptr<sdk::StreamState> state) {
  if (state != nullptr && state->forked()) (void)state.release();
}

absl::Status EmptyError() {
  return absl::FailedPreconditionError("stream: empty, Match fills it");
}

}  // namespace

PrefixStream::PrefixStream() = default;
PrefixStream::PrefixStream(PrefixStream&&) noexcept = default;
PrefixStream& PrefixStream::operator=(PrefixStream&& other) noexcept {
  if (this != &other) Drop(std::exchange(state_, std::move(other.state_)));
  return *this;
}
PrefixStream::~PrefixStream() { Drop(std::move(state_)); }

uint32_t PrefixStream::ok_blocks() const {
  return state_ == nullptr ? 0 : state_->ok_blocks();
}
uint64_t PrefixStream::ok_tokens() const {
  return state_ == nullptr || state_->forked() ? 0 : state_->ok_tokens();
}
uint32_t PrefixStream::layered_end() const {
  return state_ == nullptr ? 0 : state_->layered_end();
}
uint32_t PrefixStream::ok_layers() const {
  return state_ == nullptr ? 0 : state_->ok_layers();
}
uint32_t PrefixStream::block_count() const {
  return state_ == nullptr ? 0 : state_->block_count();
}
uint32_t PrefixStream::key_count() const {
  return state_ == nullptr ? 0 : state_->key_count();
}
bool PrefixStream::done() const {
  return state_ == nullptr || state_->forked() || state_->done();
}
absl::Status PrefixStream::status() const {
  if (state_ == nullptr) return absl::OkStatus();
  return state_->forked() ? sdk::ForkedError() : state_->status();
}
std::span<const std::byte> PrefixStream::page(uint32_t block,
                                              uint32_t slice) const {
  if (state_ == nullptr) return {};
  return state_->page(block, slice);
}

bool PrefixStream::Poll() { return state_ != nullptr && state_->Poll(); }

absl::Status PrefixStream::WaitChunk(uint32_t blocks, absl::Time deadline) {
  if (state_ == nullptr) return EmptyError();
  if (state_->forked()) return sdk::ForkedError();
  return state_->WaitChunk(blocks, deadline);
}
absl::Status PrefixStream::WaitLayer(uint32_t blocks, uint32_t layers,
                                     absl::Time deadline) {
  if (state_ == nullptr) return EmptyError();
  if (state_->forked()) return sdk::ForkedError();
  return state_->WaitLayer(blocks, layers, deadline);
}
absl::Status PrefixStream::WaitCommitted(absl::Time deadline) {
  if (state_ == nullptr) return EmptyError();
  if (state_->forked()) return sdk::ForkedError();
  return state_->WaitCommitted(deadline);
}
absl::Status PrefixStream::WaitChange(absl::Time deadline) {
  if (state_ == nullptr) return EmptyError();
  if (state_->forked()) return sdk::ForkedError();
  return state_->WaitChange(deadline);
}

absl::StatusOr<int> PrefixStream::event_fd() {
  if (state_ == nullptr) return EmptyError();
  if (state_->forked()) return sdk::ForkedError();
  return state_->event_fd();
}

uint32_t PrefixStream::Confirm(uint32_t blocks) {
  return state_ == nullptr ? 0 : state_->Confirm(blocks);
}

bool PrefixStream::PullSome(const PullOptions& options, const CopyOut& copy) {
  return state_ != nullptr && state_->PullSome(options, copy);
}
absl::Status PrefixStream::PullTo(const PullOptions& options,
                                  const CopyOut& copy, absl::Time deadline) {
  if (state_ == nullptr) return EmptyError();
  if (state_->forked()) return sdk::ForkedError();
  return state_->PullTo(options, copy, deadline);
}
uint32_t PrefixStream::copied_blocks() const {
  return state_ == nullptr ? 0 : state_->copied_blocks();
}
uint32_t PrefixStream::copied_layers() const {
  return state_ == nullptr ? 0 : state_->copied_layers();
}

absl::StatusOr<std::string> PrefixStream::hand_over() const {
  if (state_ == nullptr) return EmptyError();
  if (state_->forked()) return sdk::ForkedError();
  return state_->hand_over();
}

void PrefixStream::Release() {
  if (state_ != nullptr && !state_->forked()) state_->Release();
}

absl::Status Client::Match(std::span<const BlockKey> keys,
                           const StreamOptions& options, PrefixStream* stream) {
  if (impl_->forked()) return sdk::ForkedError();
  // A stream of the parent, in a child that attached anew.
  if (stream->state_ != nullptr && stream->state_->forked()) {
    Drop(std::move(stream->state_));
  }
  if (stream->state_ == nullptr) {
    stream->state_ = std::make_unique<sdk::StreamState>();
  }
  return stream->state_->Start(impl_->attachment(), impl_->stream_watcher(),
                               keys, options);
}

}  // namespace kvferry
