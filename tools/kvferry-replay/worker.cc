#include "tools/kvferry-replay/worker.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "tools/kvferry-replay/job_channel.h"
#include "tools/kvferry-replay/page_content.h"
#include "tools/kvferry-replay/prompt_keys.h"

namespace kvferry::replay {
namespace {

using tools::ExitCode;

// Mismatches that are described one by one; the rest are counted.
constexpr uint32_t kMismatchesDescribedMax = 10;

using Clock = std::chrono::steady_clock;

uint64_t Since(Clock::time_point start) {
  return static_cast<uint64_t>(
      std::chrono::nanoseconds(Clock::now() - start).count());
}

class Worker {
 public:
  Worker(const ReplayOptions& options, std::unique_ptr<Client> client)
      : options_(options),
        client_(std::move(client)),
        prompt_keys_(client_->info().salt, options.block_tokens, options.seed) {
  }

  absl::StatusOr<JobResult> Run(const Job& job) {
    JobResult result;
    result.request = job.request;
    result.blocks = static_cast<uint32_t>(job.hash_ids.size());
    result.input_tokens = job.input_tokens;
    if (job.hash_ids.empty()) return result;
    const std::span<const BlockKey> keys = prompt_keys_.Of(job.hash_ids);
    KVFERRY_RETURN_IF_ERROR(Read(job, keys, &result));
    if (result.hit_blocks < keys.size()) {
      KVFERRY_RETURN_IF_ERROR(Write(keys, result.hit_blocks, &result));
    }
    return result;
  }

 private:
  // Matches, and checks every byte of the hit.
  absl::Status Read(const Job& job, std::span<const BlockKey> keys,
                    JobResult* result) {
    const Clock::time_point start = Clock::now();
    KVFERRY_RETURN_IF_ERROR(client_->Match(keys, &prefix_));
    result->match_ns = Since(start);

    const uint32_t hit_blocks = prefix_.block_count();
    uint32_t mismatched = 0;
    for (uint32_t position = 0; position < hit_blocks; ++position) {
      const std::span<const std::byte> page = prefix_.page(position);
      const std::optional<size_t> offset = FindMismatch(keys[position], page);
      if (!offset) continue;
      ++mismatched;
      // A revoked pin explains other bytes; Check below says so.
      if (prefix_.Check().ok())
        Describe(job, keys[position], position, *offset);
    }
    const absl::Status check = prefix_.Check();
    prefix_.Release();
    if (absl::IsAborted(check)) {
      result->revoked = 1;
      return absl::OkStatus();
    }
    KVFERRY_RETURN_IF_ERROR(check);
    result->hit_blocks = hit_blocks;
    result->mismatched_blocks = mismatched;
    // The last block may stand for fewer tokens than a block holds.
    result->hit_tokens = std::min(uint64_t{hit_blocks} * options_.block_tokens,
                                  job.input_tokens);
    result->read_bytes = hit_blocks * options_.page_bytes;
    return absl::OkStatus();
  }

  void Describe(const Job& job, const BlockKey& key, uint32_t position,
                size_t offset) {
    if (++mismatches_ > kMismatchesDescribedMax) return;
    std::fprintf(stderr,
                 "kvferry-replay: worker %u: line %u of the trace, block %u, "
                 "key %s: wrong from byte %zu of its page on\n",
                 options_.worker_number, job.line, position, ToHex(key).c_str(),
                 offset);
  }

  // Publishes the blocks from `first` on: fills pages in place and commits,
  // until they are visible to everybody.
  absl::Status Write(std::span<const BlockKey> keys, uint32_t first,
                     JobResult* result) {
    const Clock::time_point start = Clock::now();
    const absl::Time deadline = absl::Now() + options_.timeout;
    const std::span<const BlockKey> missing = keys.subspan(first);
    const auto count = static_cast<uint32_t>(missing.size());
    // Nobody fails here, so a second copy of what another writes is waste.
    PublicationOptions publication_options;
    publication_options.standby = false;
    KVFERRY_ASSIGN_OR_RETURN(Publication publication,
                             client_->OpenPublication(publication_options));
    KVFERRY_ASSIGN_OR_RETURN(
        const uint32_t base,
        publication.Begin(/*group=*/0,
                          first == 0 ? BlockKey() : keys[first - 1], missing,
                          deadline));
    for (uint32_t i = 0; i < count; ++i) {
      // Empty when the block is not ours to write.
      FillPage(missing[i], publication.page(base + i, /*slice=*/0));
    }
    KVFERRY_RETURN_IF_ERROR(publication.CommitAndWait(base, count, deadline));
    result->publish_ns = Since(start);

    for (uint32_t i = 0; i < count; ++i) {
      ++*CounterOf(publication.outcome(base + i), result);
    }
    result->written_bytes = result->written_blocks * options_.page_bytes;
    return publication.Close(deadline);
  }

  static uint32_t* CounterOf(BlockOutcome outcome, JobResult* result) {
    switch (outcome) {
      case BlockOutcome::kCommitted:
        return &result->written_blocks;
      case BlockOutcome::kExists:
        return &result->existing_blocks;
      case BlockOutcome::kInFlight:
        return &result->in_flight_blocks;
      case BlockOutcome::kNoSpace:
        return &result->no_space_blocks;
      case BlockOutcome::kStandby:
      case BlockOutcome::kWriting:  // not committed after a commit: lost
      case BlockOutcome::kVoid:
        break;
    }
    return &result->void_blocks;
  }

  const ReplayOptions& options_;
  const std::unique_ptr<Client> client_;
  PromptKeys prompt_keys_;
  PinnedPrefix prefix_;
  uint32_t mismatches_ = 0;
};

absl::Status Serve(const ReplayOptions& options, JobChannel* channel) {
  AttachOptions attach;
  attach.socket_path = options.socket;
  attach.spec = ReplaySpec(options);
  attach.client_name =
      absl::StrCat("kvferry-replay worker ", options.worker_number);
  attach.timeout = options.timeout;
  // A replay against a daemon that restarted would count what is not there.
  attach.reattach = false;
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Attach(attach);
  if (!client.ok()) return WithContext(client.status(), "attach");
  Worker worker(options, *std::move(client));
  KVFERRY_RETURN_IF_ERROR(channel->SendMessage({.event = WorkerEvent::kReady}));
  while (true) {
    KVFERRY_ASSIGN_OR_RETURN(const std::optional<Job> job,
                             channel->ReceiveJob());
    if (!job) return absl::OkStatus();
    const absl::StatusOr<JobResult> result = worker.Run(*job);
    if (!result.ok()) {
      return WithContext(result.status(),
                         absl::StrCat("line ", job->line, " of the trace"));
    }
    KVFERRY_RETURN_IF_ERROR(
        channel->SendMessage({.event = WorkerEvent::kDone, .result = *result}));
  }
}

}  // namespace

ExitCode RunWorker(const ReplayOptions& options) {
  JobChannel channel{UniqueFd(options.worker_fd)};
  const absl::Status status = Serve(options, &channel);
  if (status.ok()) return ExitCode::kOk;
  const absl::Status told =
      channel.SendMessage({.event = WorkerEvent::kFailed, .status = status});
  if (!told.ok()) {
    std::fprintf(stderr, "kvferry-replay: worker %u: %s\n",
                 options.worker_number, std::string(status.message()).c_str());
  }
  return absl::IsUnavailable(status) ? ExitCode::kUnreachable
                                     : ExitCode::kFailed;
}

}  // namespace kvferry::replay
