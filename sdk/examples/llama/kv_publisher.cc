#include "sdk/examples/llama/kv_publisher.h"

#include <utility>

#include "base/status.h"
#include "sdk/examples/llama/model_namespace.h"

namespace kvferry::llama {

absl::StatusOr<KvPublisher> KvPublisher::Open(const PublicationOptions& options,
                                              uint32_t first_block,
                                              KvLink* link) {
  KVFERRY_ASSIGN_OR_RETURN(Publication publication,
                           link->client().OpenPublication(options));
  return KvPublisher(std::move(publication), options, first_block, link);
}

KvPublisher::KvPublisher(Publication publication,
                         const PublicationOptions& options,
                         uint32_t first_block, KvLink* link)
    : publication_(std::move(publication)),
      first_block_(first_block),
      link_(link) {
  const uint32_t end = options.slice_count == 0
                           ? link->group().slice_count
                           : options.slice_first + options.slice_count;
  for (uint32_t slice = options.slice_first; slice < end; ++slice) {
    slices_.push_back(slice);
  }
}

absl::Status KvPublisher::Begin(const BlockKey& parent,
                                std::span<const BlockKey> keys,
                                uint32_t tail_tokens) {
  if (keys.empty()) return absl::OkStatus();
  KVFERRY_RETURN_IF_ERROR(
      publication_.BeginWithTail(/*group=*/0, parent, keys, tail_tokens)
          .status());
  begun_ += static_cast<uint32_t>(keys.size());
  tail_tokens_ = tail_tokens;
  return absl::OkStatus();
}

absl::Status KvPublisher::Write(uint32_t end_block, uint32_t layer,
                                uint32_t layers, const Sequence& sequence,
                                PagedKvCache* cache) {
  const GroupSpec& group = link_->group();
  const uint64_t layer_bytes = group.page_bytes() / group.layer_count;
  for (uint32_t block = next_block(); block < end_block; ++block) {
    const uint32_t position = block - first_block_;
    const uint32_t valid_tokens = position + 1 == begun_ ? tail_tokens_ : 0;
    for (const uint32_t slice : slices_) {
      const std::span<std::byte> page = publication_.page(position, slice);
      if (page.empty()) continue;  // not ours to write
      KVFERRY_RETURN_IF_ERROR(GatherLayers(
          group, TensorFor(group, slice, cache), sequence.blocks[block], layer,
          layers, page.subspan(layer * layer_bytes, layers * layer_bytes),
          valid_tokens));
    }
  }
  return absl::OkStatus();
}

absl::Status KvPublisher::CommitLayers(uint32_t end_block, uint32_t layers) {
  if (end_block <= next_block()) return absl::OkStatus();
  return publication_.CommitLayers(committed_, end_block - next_block(),
                                   layers);
}

absl::Status KvPublisher::Commit(uint32_t end_block) {
  if (end_block <= next_block()) return absl::OkStatus();
  const uint32_t count = end_block - next_block();
  KVFERRY_RETURN_IF_ERROR(publication_.Commit(committed_, count));
  committed_ += count;
  return absl::OkStatus();
}

absl::Status KvPublisher::SetHandOver(const std::string& bytes) {
  return publication_.SetHandOver(bytes);
}

absl::StatusOr<PublishedBlocks> KvPublisher::Finish() {
  PublishedBlocks result;
  if (committed_ > 0) {
    KVFERRY_RETURN_IF_ERROR(publication_.CommitAndWait(0, committed_));
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
      case BlockOutcome::kStandby:
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
