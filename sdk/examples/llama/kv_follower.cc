#include "sdk/examples/llama/kv_follower.h"

#include <utility>
#include <vector>

#include "base/status.h"
#include "sdk/examples/llama/model_namespace.h"

namespace kvferry::llama {
namespace {

// Scatters what a stream brings, and remembers when it last did.
class Scatterer {
 public:
  Scatterer(const PromptBlocks& blocks, KvLink* link, PagedKvCache* cache,
            const Sequence& sequence)
      : blocks_(blocks), group_(link->group()), sequence_(sequence) {
    for (uint32_t slice = 0; slice < group_.slice_count; ++slice) {
      tensors_.push_back(TensorFor(group_, slice, cache));
    }
  }

  void Take(uint32_t block, uint32_t slice, uint32_t layer, uint32_t layers,
            std::span<const std::byte> bytes) {
    const bool is_last = block + 1 == blocks_.count();
    status_.Update(ScatterLayers(group_, bytes, layer, layers, tensors_[slice],
                                 sequence_.blocks[block],
                                 is_last ? blocks_.tail_tokens : 0));
    last_ns_ = Timeline::NowNs();
  }

  const absl::Status& status() const { return status_; }
  uint64_t last_ns() const { return last_ns_; }

 private:
  const PromptBlocks& blocks_;
  const GroupSpec& group_;
  const Sequence& sequence_;
  std::vector<PagedTensor> tensors_;
  absl::Status status_;
  uint64_t last_ns_ = 0;
};

// Copies what comes until all is here, the stream fails, or time is over.
absl::Status Pull(PrefixStream* stream, Scatterer* scatterer,
                  absl::Time deadline, Timeline* timeline) {
  const PrefixStream::CopyOut copy =
      [scatterer](uint32_t block, uint32_t slice, uint32_t layer,
                  uint32_t layers, std::span<const std::byte> bytes) {
        scatterer->Take(block, slice, layer, layers, bytes);
      };
  // PullTo does as much in one call; taken apart it shows when what happened.
  uint32_t ok_blocks = 0;
  for (;;) {
    const uint64_t begin_ns = Timeline::NowNs();
    const bool copied = stream->PullSome({}, copy);
    KVFERRY_RETURN_IF_ERROR(scatterer->status());
    if (scatterer->last_ns() > begin_ns) {
      timeline->Span("copy", begin_ns, scatterer->last_ns(),
                     {.layer = stream->copied_layers(),
                      .blocks = stream->copied_blocks()});
    }
    if (stream->copied_blocks() > ok_blocks) {
      ok_blocks = stream->copied_blocks();
      timeline->Instant("ok", Timeline::NowNs(), {.blocks = ok_blocks});
    }
    if (ok_blocks == stream->key_count()) return absl::OkStatus();
    if (copied) continue;

    const uint64_t wait_ns = Timeline::NowNs();
    const absl::Status waited = stream->WaitChange(deadline);
    timeline->Span("wait", wait_ns, Timeline::NowNs());
    // What was whole when it failed was copied above.
    KVFERRY_RETURN_IF_ERROR(waited);
  }
}

}  // namespace

absl::StatusOr<FollowedBlocks> FollowBlocks(const PromptBlocks& blocks,
                                            const PublicationHint& publication,
                                            absl::Time deadline, KvLink* link,
                                            PagedKvCache* cache,
                                            Sequence* sequence,
                                            Timeline* timeline) {
  const uint32_t block_tokens = link->group().block_tokens;
  FollowedBlocks result;
  if (blocks.keys.empty()) return result;
  const uint32_t token_count =
      blocks.full_count() * block_tokens + blocks.tail_tokens;
  KVFERRY_RETURN_IF_ERROR(cache->Reserve(token_count, sequence));

  StreamOptions options;
  options.tail_tokens = blocks.tail_tokens;
  options.publication = publication;
  PrefixStream stream;
  const absl::Status matched =
      link->client().Match(blocks.keys, options, &stream);
  if (!matched.ok()) {
    cache->Release(sequence);
    return matched;
  }
  Scatterer scatterer(blocks, link, cache, *sequence);
  result.status = Pull(&stream, &scatterer, deadline, timeline);
  result.blocks = stream.copied_blocks();
  result.tokens = result.blocks == blocks.count()
                      ? token_count
                      : result.blocks * block_tokens;
  result.last_byte_ns = scatterer.last_ns();
  if (result.status.ok()) {
    timeline->Instant("last_byte", result.last_byte_ns);
    absl::StatusOr<std::string> hand_over = stream.hand_over();
    if (hand_over.ok()) result.hand_over = *std::move(hand_over);
  }
  sequence->length = result.tokens;
  return result;
}

}  // namespace kvferry::llama
