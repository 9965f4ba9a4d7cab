// llama_prefill: computes a prompt's KV and streams it through KVFerry.
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
#include "sdk/examples/llama/kv_publisher.h"
#include "sdk/examples/llama/prefiller.h"
#include "sdk/examples/llama/timeline.h"

namespace kvferry::llama {
namespace {

struct PrefillFlags {
  ExampleFlags common;
  uint64_t engine_instance = 0;
  uint64_t publication = 1;
  uint32_t slice_first = 0;
  uint32_t slice_count = 0;
  bool no_stream = false;
  std::string granularity = "layer";
  bool no_ticket = false;
  uint32_t ticket_consumers = 1;
  uint32_t ticket_ttl_s = 60;
  bool print_keys = false;
  std::optional<uint32_t> exit_in_chunk;

  void AddTo(CLI::App* app) {
    common.AddTo(app);
    app->add_option("--instance", engine_instance,
                    "The engine that ranks belong to; 0: a rank by itself");
    app->add_option("--publication", publication,
                    "The prompt's number in that engine");
    app->add_option("--slice-first", slice_first,
                    "First slice this rank publishes");
    app->add_option("--slice-count", slice_count,
                    "How many slices it publishes; 0: all");
    app->add_flag("--no-stream", no_stream,
                  "Mint the ticket when everything is there (store and "
                  "forward), not before anything is computed");
    app->add_option("--granularity", granularity,
                    "What readers see at once: a chunk, or a layer of one")
        ->check(CLI::IsMember({"chunk", "layer"}))
        ->capture_default_str();
    app->add_flag("--no-ticket", no_ticket, "Mint no ticket");
    app->add_option("--ticket-consumers", ticket_consumers,
                    "How many processes may take the blocks up");
    app->add_option("--ticket-ttl", ticket_ttl_s,
                    "Seconds that the blocks stay pinned for them");
    app->add_flag("--print-keys", print_keys, "Print the keys of the blocks");
    app->add_option("--exit-in-chunk", exit_in_chunk,
                    "Die (SIGKILL) in this chunk, counted from 0, before it is "
                    "committed");
  }

  // Whether this process publishes whole blocks.
  bool all_slices() const {
    return slice_count == 0 || slice_count == common.slice_count;
  }

  // A ticket for blocks that are written pins whole ones; a rank that wrote a
  // part of them cannot know that the others are done. One for blocks to come
  // waits for them, so one rank mints it for all.
  bool mints_ticket() const {
    return !no_ticket && (no_stream ? all_slices() : slice_first == 0);
  }

  absl::Status Validate() const {
    KVFERRY_RETURN_IF_ERROR(common.Validate());
    if (uint64_t{slice_first} + slice_count > common.slice_count ||
        (slice_count == 0 && slice_first != 0)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--slice-first ", slice_first, " --slice-count ", slice_count,
          " is not within the ", common.slice_count, " slices"));
    }
    if (!all_slices() && engine_instance == 0) {
      return absl::InvalidArgumentError(
          "a rank of several needs --instance, the same for all of them");
    }
    return absl::OkStatus();
  }

  PublicationOptions publication_options() const {
    PublicationOptions options;
    options.engine_instance = engine_instance;
    options.publication = publication;
    options.slice_first = slice_first;
    options.slice_count = slice_count;
    return options;
  }

  TicketOptions ticket_options(const PromptBlocks& blocks) const {
    TicketOptions options;
    options.consumers = ticket_consumers;
    options.ttl = absl::Seconds(ticket_ttl_s);
    options.tail_tokens = blocks.tail_tokens;
    return options;
  }

  PrefillerOptions prefiller_options() const {
    PrefillerOptions options;
    options.chunk_tokens = common.chunk_tokens;
    options.by_layer = !no_stream && granularity == "layer";
    options.exit_in_chunk = exit_in_chunk;
    return options;
  }
};

// Prints a ticket as a line of its own, at once.
absl::Status PrintTicket(const absl::StatusOr<Ticket>& ticket,
                         Timeline* timeline) {
  // Some block was refused, or another process is writing it: the reader then
  // looks the prompt up and takes what is there.
  if (absl::IsNotFound(ticket.status())) return absl::OkStatus();
  KVFERRY_RETURN_IF_ERROR(ticket.status());
  JsonLine()
      .Text("program", "llama_prefill")
      .Text("event", "ticket")
      .Text("ticket", TicketToText(*ticket))
      .Print();
  timeline->Instant("ticket", Timeline::NowNs());
  return absl::OkStatus();
}

absl::Status Run(const PrefillFlags& flags) {
  KVFERRY_RETURN_IF_ERROR(flags.Validate());
  const ModelConfig& model = flags.common.model;
  KVFERRY_ASSIGN_OR_RETURN(
      const std::vector<uint32_t> tokens,
      ReadPrompt(flags.common.prompt_path, model.context_max));
  const auto prompt_tokens = static_cast<uint32_t>(tokens.size());
  const Weights weights(model);
  const uint32_t block_tokens = flags.common.block_tokens;
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<PagedKvCache> cache,
      PagedKvCache::Create(model, block_tokens,
                           (prompt_tokens + block_tokens - 1) / block_tokens));
  Engine engine(&weights, cache.get());
  Timeline timeline("prefill");

  const Stopwatch attaching;
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<KvLink> link,
      KvLink::Attach(flags.common, "llama_prefill", /*publish=*/true));
  const double attach_ms = attaching.elapsed_ms();

  const PromptBlocks blocks = link->BlocksOf(tokens);
  Sequence sequence;
  const Stopwatch restoring;
  KVFERRY_ASSIGN_OR_RETURN(const uint32_t restored_tokens,
                           link->Restore(tokens, cache.get(), &sequence));
  const double restore_ms = restoring.elapsed_ms();
  const uint32_t first_block = restored_tokens == prompt_tokens
                                   ? blocks.count()
                                   : restored_tokens / block_tokens;
  // The last token's logits are in no cache, and decode waits for them.
  sequence.length = std::min(restored_tokens, prompt_tokens - 1);

  // All that is missing is begun at once, before any of it is computed: a
  // ticket for it can go out now, and decode starts while this one computes.
  const Stopwatch announcing;
  KVFERRY_ASSIGN_OR_RETURN(
      KvPublisher publisher,
      KvPublisher::Open(flags.publication_options(), first_block, link.get()));
  KVFERRY_RETURN_IF_ERROR(publisher.Begin(
      first_block == 0 ? BlockKey{} : blocks.keys[first_block - 1],
      std::span(blocks.keys).subspan(first_block), blocks.tail_tokens));
  TicketOptions ticket_options = flags.ticket_options(blocks);
  if (flags.mints_ticket() && !flags.no_stream) {
    KVFERRY_RETURN_IF_ERROR(PrintTicket(
        link->client().MintTicket(publisher.publication(), /*group=*/0,
                                  blocks.keys, ticket_options),
        &timeline));
  }
  const double announce_ms = announcing.elapsed_ms();

  Prefiller prefiller(flags.prefiller_options(), &engine, cache.get(),
                      &publisher, &timeline);
  KVFERRY_RETURN_IF_ERROR(prefiller.Run(tokens, blocks, &sequence));
  const Stopwatch finishing;
  KVFERRY_ASSIGN_OR_RETURN(const PublishedBlocks published, publisher.Finish());
  if (flags.mints_ticket() && flags.no_stream) {
    ticket_options.hand_over = prefiller.hand_over().Encode();
    KVFERRY_RETURN_IF_ERROR(PrintTicket(
        link->client().MintTicket(/*group=*/0, blocks.keys, ticket_options),
        &timeline));
  }
  const double finish_ms = finishing.elapsed_ms();

  JsonLine line;
  line.Text("program", "llama_prefill")
      .Text("event", "done")
      .Count("prompt_tokens", prompt_tokens)
      .Count("blocks", blocks.count())
      .Count("block_bytes", link->group().block_bytes())
      .Count("restored_tokens", restored_tokens)
      .Count("committed_blocks", published.committed)
      .Count("existing_blocks", published.existing)
      .Count("refused_blocks", published.refused)
      .Milliseconds("attach_ms", attach_ms)
      .Milliseconds("restore_ms", restore_ms)
      .Milliseconds("announce_ms", announce_ms)
      .Milliseconds("compute_ms", prefiller.compute_ms())
      .Milliseconds("publish_ms", prefiller.publish_ms())
      .Milliseconds("finish_ms", finish_ms);
  if (flags.print_keys) {
    std::vector<std::string> texts;
    for (const BlockKey& key : blocks.keys) texts.push_back(ToHex(key));
    line.Texts("keys", texts);
  }
  line.Print();
  return timeline.WriteTo(flags.common.timeline_path);
}

}  // namespace
}  // namespace kvferry::llama

int main(int argc, char** argv) {
  CLI::App app("Computes a prompt's KV and streams it through KVFerry");
  kvferry::llama::PrefillFlags flags;
  flags.AddTo(&app);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = kvferry::llama::Run(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "llama_prefill: %s\n", status.ToString().c_str());
  return 1;
}
