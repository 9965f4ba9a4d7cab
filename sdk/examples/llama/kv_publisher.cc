#include "sdk/examples/llama/kv_publisher.h"

#include <utility>

#include "base/status.h"
#include "sdk/examples/llama/model_namespace.h"

namespace kvferry::llama {

absl::StatusOr<KvPublisher> KvPublisher::Open(const PublicationOptions& options,
                                              std::span<const BlockKey> keys,
                                              uint32_t first_block,
                                              KvLink* link) {
  KVFERRY_ASSIGN_OR_RETURN(Publication publication,
                           link->client().OpenPublication(options));
  return KvPublisher(std::move(publication), options, keys, first_block, link);
}

KvPublisher::KvPublisher(Publication publication,
                         const PublicationOptions& options,
                         std::span<const BlockKey> keys, uint32_t first_block,
                         KvLink* link)
    : publication_(std::move(publication)),
      keys_(keys),
      first_block_(first_block),
      link_(link) {
  const uint32_t end = options.slice_count == 0
                           ? link->group().slice_count
                           : options.slice_first + options.slice_count;
  for (uint32_t slice = options.slice_first; slice < end; ++slice) {
    slices_.push_back(slice);
  }
}

absl::Status KvPublisher::Begin(uint32_t end_block) {
  const uint32_t first = first_block_ + begun_;
  if (end_block <= first) return absl::OkStatus();
  const uint32_t count = end_block - first;
  const BlockKey parent = first == 0 ? BlockKey{} : keys_[first - 1];
  KVFERRY_RETURN_IF_ERROR(
      publication_.Begin(/*group=*/0, parent, keys_.subspan(first, count))
          .status());
  begun_ += count;
  return absl::OkStatus();
}

absl::Status KvPublisher::Write(const Sequence& sequence, PagedKvCache* cache) {
  for (; written_ < begun_; ++written_) {
    const uint32_t engine_block = sequence.blocks[first_block_ + written_];
    for (const uint32_t slice : slices_) {
      const std::span<std::byte> page = publication_.page(written_, slice);
      if (page.empty()) continue;  // not ours to write
      KVFERRY_RETURN_IF_ERROR(
          GatherPage(link_->group(), TensorFor(link_->group(), slice, cache),
                     engine_block, page));
    }
  }
  return absl::OkStatus();
}

absl::Status KvPublisher::Commit() {
  if (committed_ == written_) return absl::OkStatus();
  KVFERRY_RETURN_IF_ERROR(
      publication_.Commit(committed_, written_ - committed_));
  committed_ = written_;
  return absl::OkStatus();
}

absl::StatusOr<PublishedBlocks> KvPublisher::Finish() {
  PublishedBlocks result;
  if (begun_ > 0) {
    KVFERRY_RETURN_IF_ERROR(publication_.CommitAndWait(0, begun_));
  }
  for (uint32_t position = 0; position < begun_; ++position) {
    switch (publication_.outcome(position)) {
      case BlockOutcome::kCommitted:
        ++result.committed;
        break;
      case BlockOutcome::kExists:
      case BlockOutcome::kInFlight:
        ++result.existing;
        break;
      case BlockOutcome::kWriting:
      case BlockOutcome::kNoSpace:
      case BlockOutcome::kVoid:
        ++result.refused;
        break;
    }
  }
  KVFERRY_RETURN_IF_ERROR(publication_.Close());
  return result;
}

}  // namespace kvferry::llama
