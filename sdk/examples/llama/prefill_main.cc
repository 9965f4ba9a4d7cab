// llama_prefill: computes a prompt's KV and publishes it through KVFerry.
#include <csignal>
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

namespace kvferry::llama {
namespace {

struct PrefillFlags {
  ExampleFlags common;
  uint64_t engine_instance = 0;
  uint64_t publication = 1;
  uint32_t slice_first = 0;
  uint32_t slice_count = 0;
  bool no_ticket = false;
  uint32_t ticket_consumers = 1;
  uint32_t ticket_ttl_s = 60;
  bool print_keys = false;
  bool exit_before_commit = false;

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
    app->add_flag("--no-ticket", no_ticket, "Mint no ticket");
    app->add_option("--ticket-consumers", ticket_consumers,
                    "How many processes may take the blocks up");
    app->add_option("--ticket-ttl", ticket_ttl_s,
                    "Seconds that the blocks stay pinned for them");
    app->add_flag("--print-keys", print_keys, "Print the keys of the blocks");
    app->add_flag("--exit-before-commit", exit_before_commit,
                  "Die (SIGKILL) with the first chunk written, not committed");
  }

  // Whether this process publishes whole blocks.
  bool all_slices() const {
    return slice_count == 0 || slice_count == common.slice_count;
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
};

struct PrefillTimes {
  double compute_ms = 0;
  double publish_ms = 0;
};

// Computes what the cache lacks, a chunk at a time, and publishes each chunk's
// full blocks as soon as they are computed.
absl::StatusOr<PrefillTimes> PrefillChunks(const PrefillFlags& flags,
                                           std::span<const uint32_t> tokens,
                                           Engine* engine, PagedKvCache* cache,
                                           Sequence* sequence,
                                           KvPublisher* publisher) {
  PrefillTimes times;
  while (sequence->length < tokens.size()) {
    const size_t chunk_tokens = std::min<size_t>(
        flags.common.chunk_tokens, tokens.size() - sequence->length);
    const size_t end = sequence->length + chunk_tokens;

    const Stopwatch announcing;
    KVFERRY_RETURN_IF_ERROR(
        publisher->Begin(static_cast<uint32_t>(end / cache->block_tokens())));
    times.publish_ms += announcing.elapsed_ms();

    const Stopwatch computing;
    KVFERRY_RETURN_IF_ERROR(engine->Forward(
        tokens.subspan(sequence->length, chunk_tokens), sequence));
    times.compute_ms += computing.elapsed_ms();

    const Stopwatch publishing;
    KVFERRY_RETURN_IF_ERROR(publisher->Write(*sequence, cache));
    if (flags.exit_before_commit) std::raise(SIGKILL);
    KVFERRY_RETURN_IF_ERROR(publisher->Commit());
    times.publish_ms += publishing.elapsed_ms();
  }
  return times;
}

absl::Status Run(const PrefillFlags& flags) {
  KVFERRY_RETURN_IF_ERROR(flags.Validate());
  const ModelConfig& model = flags.common.model;
  KVFERRY_ASSIGN_OR_RETURN(
      const std::vector<uint32_t> tokens,
      ReadPrompt(flags.common.prompt_path, model.context_max));
  const auto block_count =
      static_cast<uint32_t>((tokens.size() + flags.common.block_tokens - 1) /
                            flags.common.block_tokens);
  const Weights weights(model);
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<PagedKvCache> cache,
      PagedKvCache::Create(model, flags.common.block_tokens, block_count));
  Engine engine(&weights, cache.get());

  const Stopwatch attaching;
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<KvLink> link,
      KvLink::Attach(flags.common, "llama_prefill", /*publish=*/true));
  const double attach_ms = attaching.elapsed_ms();

  const std::vector<BlockKey> keys = link->KeysOf(tokens);
  Sequence sequence;
  const Stopwatch restoring;
  KVFERRY_ASSIGN_OR_RETURN(const uint32_t restored_tokens,
                           link->Restore(keys, cache.get(), &sequence));
  const double restore_ms = restoring.elapsed_ms();

  PublicationOptions options;
  options.engine_instance = flags.engine_instance;
  options.publication = flags.publication;
  options.slice_first = flags.slice_first;
  options.slice_count = flags.slice_count;
  KVFERRY_ASSIGN_OR_RETURN(
      KvPublisher publisher,
      KvPublisher::Open(options, keys,
                        restored_tokens / flags.common.block_tokens,
                        link.get()));
  KVFERRY_ASSIGN_OR_RETURN(PrefillTimes times,
                           PrefillChunks(flags, tokens, &engine, cache.get(),
                                         &sequence, &publisher));
  const Stopwatch finishing;
  KVFERRY_ASSIGN_OR_RETURN(const PublishedBlocks published, publisher.Finish());
  times.publish_ms += finishing.elapsed_ms();

  JsonLine line;
  line.Text("program", "llama_prefill")
      .Count("prompt_tokens", tokens.size())
      .Count("blocks", keys.size())
      .Count("block_bytes", link->group().block_bytes())
      .Count("restored_tokens", restored_tokens)
      .Count("committed_blocks", published.committed)
      .Count("existing_blocks", published.existing)
      .Count("refused_blocks", published.refused)
      .Milliseconds("attach_ms", attach_ms)
      .Milliseconds("restore_ms", restore_ms)
      .Milliseconds("compute_ms", times.compute_ms)
      .Milliseconds("publish_ms", times.publish_ms);
  // A ticket pins whole blocks; a rank that wrote a part of them cannot know
  // that the others are done, and leaves it to the engine's scheduler.
  if (!flags.no_ticket && flags.all_slices() && !keys.empty()) {
    const Stopwatch minting;
    TicketOptions ticket_options;
    ticket_options.consumers = flags.ticket_consumers;
    ticket_options.ttl = absl::Seconds(flags.ticket_ttl_s);
    const absl::StatusOr<Ticket> ticket =
        link->client().MintTicket(/*group=*/0, keys, ticket_options);
    if (ticket.ok()) {
      line.Milliseconds("ticket_ms", minting.elapsed_ms());
      line.Text("ticket", TicketToText(*ticket));
    } else if (!absl::IsNotFound(ticket.status())) {
      return ticket.status();
    }
    // Not found: some block was refused, or is still being written by another
    // process. The reader then looks the prompt up and takes what is there.
  }
  if (flags.print_keys) {
    std::vector<std::string> texts;
    for (const BlockKey& key : keys) texts.push_back(ToHex(key));
    line.Texts("keys", texts);
  }
  line.Print();
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvferry::llama

int main(int argc, char** argv) {
  CLI::App app("Computes a prompt's KV and publishes it through KVFerry");
  kvferry::llama::PrefillFlags flags;
  flags.AddTo(&app);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = kvferry::llama::Run(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "llama_prefill: %s\n", status.ToString().c_str());
  return 1;
}
