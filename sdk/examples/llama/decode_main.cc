// llama_decode: continues a prompt from KV that another process published.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "sdk/examples/llama/engine.h"
#include "sdk/examples/llama/example_flags.h"
#include "sdk/examples/llama/example_io.h"
#include "sdk/examples/llama/kv_link.h"

namespace kvferry::llama {
namespace {

struct DecodeFlags {
  ExampleFlags common;
  uint32_t new_token_count = 32;
  std::string ticket;
  bool no_cache = false;
  std::optional<uint64_t> flip_byte;

  void AddTo(CLI::App* app) {
    common.AddTo(app);
    app->add_option("--tokens", new_token_count, "Tokens to decode")
        ->capture_default_str();
    app->add_option("--ticket", ticket,
                    "What llama_prefill printed; without it the prompt's keys "
                    "are looked up");
    app->add_flag("--no-cache", no_cache, "Compute everything; no daemon");
    app->add_option("--flip-byte", flip_byte,
                    "Invert this byte of the first layer's restored values");
  }
};

struct HandOver {
  uint32_t tokens = 0;  // that came from the cache
  double ms = 0;
};

// The keys a ticket stands for, once it is clear that they are this prompt's. A
// ticket that is over leaves the prompt's own: the blocks may be there still.
absl::StatusOr<std::vector<BlockKey>> RedeemKeys(
    const Ticket& ticket, std::span<const BlockKey> prompt_keys, KvLink* link) {
  absl::StatusOr<TicketContent> content = link->client().RedeemTicket(ticket);
  if (absl::IsNotFound(content.status())) {
    return std::vector<BlockKey>(prompt_keys.begin(), prompt_keys.end());
  }
  KVFERRY_RETURN_IF_ERROR(content.status());
  const std::vector<BlockKey>& keys = content->keys;
  if (keys.size() > prompt_keys.size() ||
      !std::equal(keys.begin(), keys.end(), prompt_keys.begin())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--ticket is for another prompt: its ", keys.size(),
        " blocks are not the first of this one's ", prompt_keys.size()));
  }
  return std::move(content->keys);
}

// From the request in hand to the KV in the engine's own memory.
absl::StatusOr<HandOver> TakeOver(const DecodeFlags& flags,
                                  std::span<const uint32_t> tokens,
                                  KvLink* link, PagedKvCache* cache,
                                  Sequence* sequence) {
  const Stopwatch watch;
  HandOver result;
  std::vector<BlockKey> keys = link->KeysOf(tokens);
  std::optional<Ticket> ticket;
  if (!flags.ticket.empty()) {
    KVFERRY_ASSIGN_OR_RETURN(ticket, TicketFromText(flags.ticket));
    KVFERRY_ASSIGN_OR_RETURN(keys, RedeemKeys(*ticket, keys, link));
  }
  KVFERRY_ASSIGN_OR_RETURN(result.tokens, link->Restore(keys, cache, sequence));
  result.ms = watch.elapsed_ms();
  if (ticket.has_value()) {
    // A courtesy: at its deadline the daemon takes the pins back by itself, and
    // the KV is here already.
    link->client().ReleaseTicket(*ticket).IgnoreError();
  }
  return result;
}

// Spoils one byte, to show that what was restored is what is computed with.
absl::Status FlipByte(uint64_t index, const ModelConfig& model,
                      uint32_t restored_tokens, const Sequence& sequence,
                      PagedKvCache* cache) {
  const uint64_t token_bytes = uint64_t{model.kv_dim()} * sizeof(float);
  const uint64_t byte_count = restored_tokens * token_bytes;
  if (index >= byte_count) {
    return absl::OutOfRangeError(
        absl::StrCat("--flip-byte ", index, ": the first layer's restored ",
                     "values have ", byte_count, " bytes"));
  }
  const auto position = static_cast<uint32_t>(index / token_bytes);
  auto* bytes = reinterpret_cast<std::byte*>(
      cache->value(/*layer=*/0, sequence, position));
  bytes[index % token_bytes] ^= std::byte{0xff};
  return absl::OkStatus();
}

absl::Status Prefill(std::span<const uint32_t> tokens, uint32_t chunk_tokens,
                     Engine* engine, Sequence* sequence) {
  while (sequence->length < tokens.size()) {
    const std::span<const uint32_t> rest = tokens.subspan(sequence->length);
    KVFERRY_RETURN_IF_ERROR(engine->Forward(
        rest.first(std::min<size_t>(chunk_tokens, rest.size())), sequence));
  }
  return absl::OkStatus();
}

absl::Status Run(const DecodeFlags& flags) {
  KVFERRY_RETURN_IF_ERROR(flags.common.Validate());
  const ModelConfig& model = flags.common.model;
  if (flags.new_token_count == 0 ||
      flags.new_token_count >= model.context_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tokens is ", flags.new_token_count, ", must be 1 to ",
                     model.context_max - 1));
  }
  KVFERRY_ASSIGN_OR_RETURN(
      const std::vector<uint32_t> tokens,
      ReadPrompt(flags.common.prompt_path,
                 model.context_max - flags.new_token_count));
  const auto prompt_tokens = static_cast<uint32_t>(tokens.size());
  const uint32_t block_count =
      (prompt_tokens + flags.new_token_count + flags.common.block_tokens - 1) /
      flags.common.block_tokens;
  const Weights weights(model);
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<PagedKvCache> cache,
      PagedKvCache::Create(model, flags.common.block_tokens, block_count));
  Engine engine(&weights, cache.get());
  Sequence sequence;

  double attach_ms = 0;
  std::unique_ptr<KvLink> link;
  if (!flags.no_cache) {
    const Stopwatch attaching;
    KVFERRY_ASSIGN_OR_RETURN(
        link, KvLink::Attach(flags.common, "llama_decode", /*publish=*/false));
    attach_ms = attaching.elapsed_ms();
  }

  const Stopwatch first_token;
  HandOver hand_over;
  if (link != nullptr) {
    KVFERRY_ASSIGN_OR_RETURN(
        hand_over, TakeOver(flags, tokens, link.get(), cache.get(), &sequence));
  }
  if (flags.flip_byte.has_value()) {
    KVFERRY_RETURN_IF_ERROR(FlipByte(*flags.flip_byte, model, hand_over.tokens,
                                     sequence, cache.get()));
  }
  // The first new token comes from the logits of the prompt's last token, which
  // are in no cache: that one is computed even after a full hit.
  sequence.length = std::min(sequence.length, prompt_tokens - 1);
  const uint32_t not_recomputed = sequence.length;
  KVFERRY_RETURN_IF_ERROR(
      Prefill(tokens, flags.common.chunk_tokens, &engine, &sequence));
  LogitsDigest digest;
  digest.Add(engine.logits());
  std::vector<uint32_t> new_tokens = {engine.GreedyToken()};
  const double first_token_ms = first_token.elapsed_ms();

  const Stopwatch decoding;
  while (new_tokens.size() < flags.new_token_count) {
    const uint32_t token = new_tokens.back();
    KVFERRY_RETURN_IF_ERROR(engine.Forward(std::span(&token, 1), &sequence));
    digest.Add(engine.logits());
    new_tokens.push_back(engine.GreedyToken());
  }

  JsonLine()
      .Text("program", "llama_decode")
      .Count("prompt_tokens", prompt_tokens)
      .Count("not_recomputed", not_recomputed)
      .Milliseconds("attach_ms", attach_ms)
      .Milliseconds("hand_over_ms", hand_over.ms)
      .Milliseconds("first_token_ms", first_token_ms)
      .Milliseconds("decode_ms", decoding.elapsed_ms())
      .Text("logits_digest", digest.ToHex())
      .Numbers("tokens", new_tokens)
      .Print();
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvferry::llama

int main(int argc, char** argv) {
  CLI::App app("Continues a prompt from KV that another process published");
  kvferry::llama::DecodeFlags flags;
  flags.AddTo(&app);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = kvferry::llama::Run(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "llama_decode: %s\n", status.ToString().c_str());
  return 1;
}
