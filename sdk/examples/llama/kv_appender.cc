#include "sdk/examples/llama/kv_appender.h"

#include <utility>

#include "base/status.h"

namespace kvferry::llama {

absl::StatusOr<KvAppender> KvAppender::Open(
    std::span<const uint32_t> cached_tokens, KvLink* link) {
  const PromptBlocks cached = link->BlocksOf(cached_tokens);
  KVFERRY_ASSIGN_OR_RETURN(KvPublisher publisher,
                           KvPublisher::Open({}, cached.full_count(), link));
  const BlockKey parent =
      cached.full_count() == 0 ? BlockKey{} : cached.full_keys().back();
  return KvAppender(std::move(publisher), parent, link);
}

absl::Status KvAppender::Append(std::span<const uint32_t> tokens,
                                const Sequence& sequence, PagedKvCache* cache) {
  const uint32_t block_tokens = link_->group().block_tokens;
  const size_t full = tokens.size() / block_tokens;
  if (full <= publisher_.next_block()) return absl::OkStatus();
  return Publish(tokens.first(full * block_tokens), sequence, cache);
}

absl::StatusOr<PublishedBlocks> KvAppender::Finish(
    std::span<const uint32_t> tokens, const Sequence& sequence,
    PagedKvCache* cache) {
  KVFERRY_RETURN_IF_ERROR(Publish(tokens, sequence, cache));
  return publisher_.Finish();
}

absl::Status KvAppender::Publish(std::span<const uint32_t> tokens,
                                 const Sequence& sequence,
                                 PagedKvCache* cache) {
  const uint32_t block_tokens = link_->group().block_tokens;
  const uint32_t first = publisher_.next_block();
  const size_t begin = size_t{first} * block_tokens;
  if (tokens.size() <= begin) return absl::OkStatus();
  const PromptBlocks blocks = link_->BlocksOf(tokens.subspan(begin), parent_);
  KVFERRY_RETURN_IF_ERROR(
      publisher_.Begin(parent_, blocks.keys, blocks.tail_tokens));
  const uint32_t end = first + blocks.count();
  KVFERRY_RETURN_IF_ERROR(
      publisher_.Write(end, 0, link_->group().layer_count, sequence, cache));
  KVFERRY_RETURN_IF_ERROR(publisher_.Commit(end));
  parent_ = blocks.keys.back();
  return absl::OkStatus();
}

}  // namespace kvferry::llama
