#include "sdk/examples/llama/prefiller.h"

#include <algorithm>
#include <csignal>

#include "base/status.h"
#include "sdk/examples/llama/example_io.h"

namespace kvferry::llama {

Prefiller::Prefiller(const PrefillerOptions& options, Engine* engine,
                     PagedKvCache* cache, KvPublisher* publisher,
                     Timeline* timeline)
    : options_(options),
      engine_(*engine),
      cache_(*cache),
      publisher_(*publisher),
      timeline_(*timeline),
      layer_count_(engine->config().layer_count) {}

absl::Status Prefiller::Run(std::span<const uint32_t> tokens,
                            const PromptBlocks& blocks, Sequence* sequence) {
  for (uint32_t index = 0; sequence->length < tokens.size(); ++index) {
    Chunk chunk;
    chunk.index = index;
    const size_t begin = sequence->length;
    const size_t end = std::min(begin + options_.chunk_tokens, tokens.size());
    chunk.tokens = tokens.subspan(begin, end - begin);
    chunk.is_last = end == tokens.size();
    chunk.end_block = chunk.is_last
                          ? blocks.count()
                          : static_cast<uint32_t>(end / cache_.block_tokens());
    KVFERRY_RETURN_IF_ERROR(RunChunk(chunk, sequence));
  }
  return absl::OkStatus();
}

absl::Status Prefiller::RunChunk(const Chunk& chunk, Sequence* sequence) {
  begun_ns_ = Timeline::NowNs();
  Engine::LayerHook hook;
  if (options_.by_layer) {
    hook = [&](uint32_t layer) { return ShowLayer(chunk, layer, *sequence); };
  }
  KVFERRY_RETURN_IF_ERROR(engine_.Forward(chunk.tokens, sequence, hook));
  AddCompute(chunk, std::nullopt);

  if (!options_.by_layer) {
    KVFERRY_RETURN_IF_ERROR(
        publisher_.Write(chunk.end_block, 0, layer_count_, *sequence, &cache_));
    hand_over_.last_layer_ns = Timeline::NowNs();
    if (options_.exit_in_chunk == chunk.index) std::raise(SIGKILL);
  }
  // Before the commit, so that whoever sees the last block has it.
  if (chunk.is_last) KVFERRY_RETURN_IF_ERROR(HandOverFirstToken());
  KVFERRY_RETURN_IF_ERROR(publisher_.Commit(chunk.end_block));
  AddPublish(chunk, std::nullopt);
  return absl::OkStatus();
}

absl::Status Prefiller::ShowLayer(const Chunk& chunk, uint32_t layer,
                                  const Sequence& sequence) {
  AddCompute(chunk, layer);
  KVFERRY_RETURN_IF_ERROR(
      publisher_.Write(chunk.end_block, layer, 1, sequence, &cache_));
  hand_over_.last_layer_ns = Timeline::NowNs();
  KVFERRY_RETURN_IF_ERROR(publisher_.CommitLayers(chunk.end_block, layer + 1));
  AddPublish(chunk, layer);
  if (options_.exit_in_chunk == chunk.index && layer >= layer_count_ / 2) {
    std::raise(SIGKILL);
  }
  return absl::OkStatus();
}

absl::Status Prefiller::HandOverFirstToken() {
  timeline_.Instant("last_layer", hand_over_.last_layer_ns);
  LogitsDigest digest;
  digest.Add(engine_.logits());
  hand_over_.first_token = engine_.GreedyToken();
  hand_over_.logits_digest = digest.state();
  const absl::Status set = publisher_.SetHandOver(hand_over_.Encode());
  // Too many publications are open: decode computes one token more.
  return absl::IsResourceExhausted(set) ? absl::OkStatus() : set;
}

void Prefiller::AddCompute(const Chunk& chunk, std::optional<uint32_t> layer) {
  const uint64_t now_ns = Timeline::NowNs();
  timeline_.Span("compute", begun_ns_, now_ns,
                 {.chunk = chunk.index, .layer = layer});
  compute_ns_ += now_ns - begun_ns_;
  begun_ns_ = now_ns;
}

void Prefiller::AddPublish(const Chunk& chunk, std::optional<uint32_t> layer) {
  const uint64_t now_ns = Timeline::NowNs();
  timeline_.Span("commit", begun_ns_, now_ns,
                 {.chunk = chunk.index, .layer = layer});
  publish_ns_ += now_ns - begun_ns_;
  begun_ns_ = now_ns;
}

}  // namespace kvferry::llama
