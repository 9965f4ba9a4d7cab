#include "kvferry/publish.h"

#include <utility>

#include "base/status.h"
#include "sdk/publication_state.h"

namespace kvferry {
namespace {

absl::Status MovedFrom() {
  return absl::FailedPreconditionError("publication: it was moved from");
}

}  // namespace

Publication::Publication(std::unique_ptr<sdk::PublicationState> state)
    : state_(std::move(state)) {}
Publication::Publication(Publication&&) noexcept = default;
Publication& Publication::operator=(Publication&&) noexcept = default;
Publication::~Publication() = default;

absl::StatusOr<uint32_t> Publication::Begin(uint32_t group,
                                            const BlockKey& parent,
                                            std::span<const BlockKey> keys,
                                            absl::Time deadline) {
  return BeginWithTail(group, parent, keys, /*tail_tokens=*/0, deadline);
}

absl::StatusOr<uint32_t> Publication::BeginWithTail(
    uint32_t group, const BlockKey& parent, std::span<const BlockKey> keys,
    uint32_t tail_tokens, absl::Time deadline) {
  if (state_ == nullptr) return MovedFrom();
  return state_->Begin(group, parent, keys, tail_tokens, deadline);
}

BlockOutcome Publication::outcome(uint32_t position) {
  return state_ == nullptr ? BlockOutcome::kVoid : state_->outcome(position);
}

uint32_t Publication::size() const {
  return state_ == nullptr ? 0 : state_->size();
}

BlockResidence Publication::residence(uint32_t position) {
  return state_ == nullptr ? BlockResidence::kNone
                           : state_->residence(position);
}

std::span<std::byte> Publication::page(uint32_t position, uint32_t slice) {
  if (state_ == nullptr) return {};
  return state_->page(position, slice);
}

absl::Status Publication::CommitLayers(uint32_t first, uint32_t count,
                                       uint32_t layers) {
  if (state_ == nullptr) return MovedFrom();
  return state_->CommitLayers(first, count, layers);
}

absl::Status Publication::Commit(uint32_t first, uint32_t count) {
  if (state_ == nullptr) return MovedFrom();
  return state_->Commit(first, count);
}

absl::Status Publication::CommitAndWait(uint32_t first, uint32_t count,
                                        absl::Time deadline) {
  if (state_ == nullptr) return MovedFrom();
  KVFERRY_RETURN_IF_ERROR(state_->Commit(first, count));
  return state_->WaitForAnswers(deadline);
}

absl::Status Publication::SetHandOver(absl::string_view bytes) {
  if (state_ == nullptr) return MovedFrom();
  return state_->SetHandOver(bytes);
}

void Publication::Abort() {
  if (state_ != nullptr) state_->Abort();
}

absl::Status Publication::Close(absl::Time deadline) {
  if (state_ == nullptr) return MovedFrom();
  return state_->Close(deadline);
}

}  // namespace kvferry
