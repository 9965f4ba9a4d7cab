// StreamState's copying: layers and blocks as they come, in the order in which
// they may be believed.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "sdk/stream_state.h"

namespace kvferry::sdk {
namespace {

// Blocks copied between two confirmations, so that a long backlog counts as it
// is copied and a deadline is noticed.
constexpr uint32_t kPullBatch = 256;

}  // namespace

absl::Status StreamState::CheckSlices(const PrefixStream::PullOptions& options,
                                      uint32_t* first, uint32_t* count) const {
  const uint32_t slices = group().slice_count;
  *first = options.slice_first;
  *count = options.slice_count;
  if (*count == 0 && *first < slices) *count = slices - *first;
  if (*first < slices && *count <= slices - *first) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "stream: slices [", options.slice_first, ", +", options.slice_count,
      "), group ", options_.group, " has ", slices));
}

void StreamState::CopyLayers(const PrefixStream::CopyOut& copy, uint32_t block,
                             uint32_t first, uint32_t end) const {
  if (first >= end) return;
  const uint64_t layer_bytes = group().page_bytes / layer_count();
  for (uint32_t i = 0; i < copied_slice_count_; ++i) {
    const uint32_t slice = copied_slice_first_ + i;
    copy(block, slice, first, end - first,
         page(block, slice)
             .subspan(first * layer_bytes, (end - first) * layer_bytes));
  }
}

bool StreamState::CopyNewLayers(const PrefixStream::CopyOut& copy) {
  // Fewer layers than before are those of another chunk's beginning, or of a
  // writer that has just come: what is copied already stays what it is.
  if (layers_ == 0 || copied_ != ok_ || layered_end_ > first_in_gpu_ ||
      layered_end_ < copied_layers_end_ || layers_ < copied_layers() ||
      (layered_end_ == copied_layers_end_ && layers_ == copied_layers_)) {
    return false;
  }
  const uint32_t had = copied_layers();
  for (uint32_t block = copied_; block < layered_end_; ++block) {
    CopyLayers(copy, block, block < copied_layers_end_ ? had : 0, layers_);
  }
  copied_layers_end_ = layered_end_;
  copied_layers_ = layers_;
  return true;
}

bool StreamState::CopyNew(bool by_layer, const PrefixStream::CopyOut& copy) {
  const uint32_t end = std::min({ok_, copied_ + kPullBatch, first_in_gpu_});
  if (copied_ == end) return by_layer && CopyNewLayers(copy);
  const uint32_t had = copied_layers();
  for (uint32_t block = copied_; block < end; ++block) {
    CopyLayers(copy, block, block < copied_layers_end_ ? had : 0,
               layer_count());
  }
  const uint32_t confirmed = ConfirmRange(copied_, end);
  if (confirmed <= copied_) return false;
  copied_ = confirmed;
  if (copied_ >= copied_layers_end_) copied_layers_ = 0;
  copied_layers_end_ = std::max(copied_layers_end_, copied_);
  return true;
}

absl::Status StreamState::TakeSlices(const PrefixStream::PullOptions& options) {
  uint32_t first = 0;
  uint32_t count = 0;
  KVFERRY_RETURN_IF_ERROR(CheckSlices(options, &first, &count));
  if (first == copied_slice_first_ && count == copied_slice_count_) {
    return absl::OkStatus();
  }
  // Layers of other slices do not count for these.
  copied_layers_end_ = copied_;
  copied_layers_ = 0;
  copied_slice_first_ = first;
  copied_slice_count_ = count;
  return absl::OkStatus();
}

bool StreamState::PullSome(const PrefixStream::PullOptions& options,
                           const PrefixStream::CopyOut& copy) {
  if (empty() || forked() || !TakeSlices(options).ok()) return false;
  Look();
  bool copied = false;
  while (CopyNew(options.by_layer, copy)) copied = true;
  Arm();
  return copied;
}

absl::Status StreamState::PullTo(const PrefixStream::PullOptions& options,
                                 const PrefixStream::CopyOut& copy,
                                 absl::Time deadline) {
  if (empty()) {
    return absl::FailedPreconditionError("stream: empty, Match fills it");
  }
  KVFERRY_RETURN_IF_ERROR(TakeSlices(options));
  absl::Status status;
  for (;;) {
    const bool changed = Look();
    const bool copied = CopyNew(options.by_layer, copy);
    if (copied_ == key_count()) return absl::OkStatus();
    if (copied_ >= first_in_gpu_) {
      status = InGpuError();
      break;
    }
    const bool in_time = absl::Now() < deadline;
    // What was ok when it failed is copied all the same.
    if (copied && in_time) continue;
    if (!status_.ok()) return status_;
    if (changed && in_time) continue;
    status = Wait(deadline);
    if (!status.ok()) break;
  }
  Arm();
  return status;
}

}  // namespace kvferry::sdk
