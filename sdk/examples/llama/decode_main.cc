// llama_decode: continues a prompt from KV that another process publishes.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "sdk/examples/llama/engine.h"
#include "sdk/examples/llama/example_flags.h"
#include "sdk/examples/llama/example_io.h"
#include "sdk/examples/llama/hand_over.h"
#include "sdk/examples/llama/kv_appender.h"
#include "sdk/examples/llama/kv_link.h"
#include "sdk/examples/llama/prompt_intake.h"
#include "sdk/examples/llama/timeline.h"

namespace kvferry::llama {
namespace {

struct DecodeFlags {
  ExampleFlags common;
  uint32_t new_token_count = 32;
  std::string ticket;
  uint32_t wait_s = 30;
  bool no_cache = false;
  bool append = false;
  std::string conversation_path;
  std::optional<uint64_t> flip_byte;

  void AddTo(CLI::App* app) {
    common.AddTo(app);
    app->add_option("--tokens", new_token_count, "Tokens to decode")
        ->capture_default_str();
    app->add_option("--ticket", ticket,
                    "What llama_prefill printed, or - to read its lines from "
                    "standard input; without it the prompt is looked up");
    app->add_option("--wait", wait_s,
                    "Seconds to follow a prompt that is being computed")
        ->capture_default_str();
    app->add_flag("--no-cache", no_cache, "Compute everything; no daemon");
    app->add_flag("--append", append,
                  "Publish what is computed here, for the next turn");
    app->add_option("--conversation", conversation_path,
                    "Write prompt and new tokens to this file: the beginning "
                    "of the next turn's prompt");
    app->add_option("--flip-byte", flip_byte,
                    "Invert this byte of the first layer's restored values");
  }

  absl::Status Validate() const {
    KVFERRY_RETURN_IF_ERROR(common.Validate());
    if (new_token_count == 0 || new_token_count >= common.model.context_max) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tokens is ", new_token_count, ", must be 1 to ",
                       common.model.context_max - 1));
    }
    if (no_cache && (append || !ticket.empty())) {
      return absl::InvalidArgumentError(
          "--no-cache goes with neither --ticket nor --append");
    }
    return absl::OkStatus();
  }
};

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

// Computes what is not there of the prompt: all of it after a miss, its last
// token when only the hand-over data are missing.
absl::Status Prefill(std::span<const uint32_t> tokens, uint32_t chunk_tokens,
                     Engine* engine, Sequence* sequence, Timeline* timeline) {
  for (uint32_t chunk = 0; sequence->length < tokens.size(); ++chunk) {
    const std::span<const uint32_t> rest = tokens.subspan(sequence->length);
    const uint64_t begin_ns = Timeline::NowNs();
    KVFERRY_RETURN_IF_ERROR(engine->Forward(
        rest.first(std::min<size_t>(chunk_tokens, rest.size())), sequence));
    timeline->Span("compute", begin_ns, Timeline::NowNs(), {.chunk = chunk});
  }
  return absl::OkStatus();
}

void AddIntake(const PromptIntake& intake, JsonLine* line) {
  line->Count("restored_tokens", intake.restored_tokens)
      .Count("restored_blocks", intake.restored_blocks)
      .Text("source", intake.source);
  if (intake.lookup.has_value()) {
    const LookupResult& lookup = *intake.lookup;
    line->Text("lookup", LookupAnswerName(lookup.answer))
        .Count("lookup_tokens", lookup.tokens)
        .Count("lookup_coming_tokens", lookup.coming_tokens);
    if (lookup.estimate != absl::InfiniteDuration()) {
      line->Milliseconds("lookup_estimate_ms",
                         absl::ToDoubleMilliseconds(lookup.estimate));
    }
  }
  if (!intake.incomplete.ok()) {
    line->Text("incomplete", intake.incomplete.ToString());
  }
}

absl::Status Run(const DecodeFlags& flags) {
  KVFERRY_RETURN_IF_ERROR(flags.Validate());
  const ModelConfig& model = flags.common.model;
  KVFERRY_ASSIGN_OR_RETURN(
      std::vector<uint32_t> tokens,
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
  Timeline timeline("decode");

  double attach_ms = 0;
  std::unique_ptr<KvLink> link;
  if (!flags.no_cache) {
    const Stopwatch attaching;
    KVFERRY_ASSIGN_OR_RETURN(
        link, KvLink::Attach(flags.common, "llama_decode", flags.append));
    attach_ms = attaching.elapsed_ms();
  }
  // Read when all else is ready, as a server has it: the request is what
  // starts the clock.
  std::string ticket = flags.ticket;
  if (ticket == "-") {
    KVFERRY_ASSIGN_OR_RETURN(ticket, ReadTextField("ticket"));
  }

  const Stopwatch first_token_watch;
  PromptIntake intake;
  if (link != nullptr) {
    KVFERRY_ASSIGN_OR_RETURN(
        intake,
        TakePrompt(tokens, ticket, absl::Now() + absl::Seconds(flags.wait_s),
                   link.get(), cache.get(), &sequence, &timeline));
  }
  const double hand_over_ms = first_token_watch.elapsed_ms();
  if (flags.flip_byte.has_value()) {
    KVFERRY_RETURN_IF_ERROR(FlipByte(*flags.flip_byte, model,
                                     intake.restored_tokens, sequence,
                                     cache.get()));
  }

  LogitsDigest digest;
  uint32_t prompt_tokens_computed = 0;
  if (intake.hand_over.has_value()) {
    digest = LogitsDigest(intake.hand_over->logits_digest);
    tokens.push_back(intake.hand_over->first_token);
  } else {
    // The first new token comes from the logits of the prompt's last token,
    // which are in no cache: that one is computed even after a full hit.
    sequence.length = std::min(sequence.length, prompt_tokens - 1);
    prompt_tokens_computed = prompt_tokens - sequence.length;
    KVFERRY_RETURN_IF_ERROR(Prefill(tokens, flags.common.chunk_tokens, &engine,
                                    &sequence, &timeline));
    digest.Add(engine.logits());
    tokens.push_back(engine.GreedyToken());
  }
  const uint64_t first_token_ns = Timeline::NowNs();
  timeline.Instant("first_token", first_token_ns);
  const double first_token_ms = first_token_watch.elapsed_ms();

  if (intake.ticket.has_value()) {
    // A courtesy: at its deadline the daemon takes the pins back by itself.
    link->client().ReleaseTicket(*intake.ticket).IgnoreError();
  }

  // From here on the sequence has KV for all tokens but the newest.
  std::optional<KvAppender> appender;
  if (flags.append) {
    KVFERRY_ASSIGN_OR_RETURN(
        appender, KvAppender::Open(std::span<const uint32_t>(tokens).first(
                                       intake.restored_tokens),
                                   link.get()));
  }
  const Stopwatch decoding;
  const uint64_t decode_begin_ns = Timeline::NowNs();
  for (uint32_t decoded = 1; decoded < flags.new_token_count; ++decoded) {
    const uint32_t token = tokens.back();
    KVFERRY_RETURN_IF_ERROR(engine.Forward(std::span(&token, 1), &sequence));
    digest.Add(engine.logits());
    if (appender.has_value()) {
      KVFERRY_RETURN_IF_ERROR(appender->Append(tokens, sequence, cache.get()));
    }
    tokens.push_back(engine.GreedyToken());
  }
  timeline.Span("generate", decode_begin_ns, Timeline::NowNs());
  const double decode_ms = decoding.elapsed_ms();
  const std::span<const uint32_t> all_tokens(tokens);
  PublishedBlocks appended;
  if (appender.has_value()) {
    KVFERRY_ASSIGN_OR_RETURN(
        appended, appender->Finish(all_tokens.first(sequence.length), sequence,
                                   cache.get()));
  }
  if (!flags.conversation_path.empty()) {
    KVFERRY_RETURN_IF_ERROR(WriteText(flags.conversation_path, all_tokens));
  }

  JsonLine line;
  line.Text("program", "llama_decode")
      .Count("prompt_tokens", prompt_tokens)
      .Count("prompt_tokens_computed", prompt_tokens_computed);
  AddIntake(intake, &line);
  line.Milliseconds("attach_ms", attach_ms)
      .Milliseconds("hand_over_ms", hand_over_ms)
      .Milliseconds("first_token_ms", first_token_ms)
      .Milliseconds("decode_ms", decode_ms);
  if (intake.hand_over.has_value()) {
    // Of what prefill and the transfer took, that which nobody could hide.
    const auto visible_ns =
        static_cast<int64_t>(first_token_ns - intake.hand_over->last_layer_ns);
    line.Milliseconds("visible_hand_over_ms",
                      static_cast<double>(visible_ns) / 1e6);
  }
  line.Count("appended_blocks", appended.committed)
      .Text("logits_digest", digest.ToHex())
      .Numbers("tokens", all_tokens.subspan(prompt_tokens))
      .Print();
  return timeline.WriteTo(flags.common.timeline_path);
}

}  // namespace
}  // namespace kvferry::llama

int main(int argc, char** argv) {
  CLI::App app("Continues a prompt from KV that another process publishes");
  kvferry::llama::DecodeFlags flags;
  flags.AddTo(&app);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = kvferry::llama::Run(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "llama_decode: %s\n", status.ToString().c_str());
  return 1;
}
