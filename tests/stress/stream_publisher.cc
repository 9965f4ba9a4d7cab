#include "tests/stress/stream_publisher.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tests/support/stream_payload.h"

namespace kvferry::test {
namespace {

AttachOptions Options(const std::string& socket) {
  AttachOptions options;
  options.socket_path = socket;
  options.spec = RoundSpec();
  options.client_name = "stream stress";
  return options;
}

class Run {
 public:
  Run(const RoundPlan& plan, uint32_t which, StreamLane* lane)
      : round_(plan),
        plan_(plan.publishers[which]),
        lane_(*lane),
        said_(lane->publishers[which]),
        mints_(which == 0 && plan.ticket) {}

  absl::Status Start(const std::string& socket) {
    KVFERRY_ASSIGN_OR_RETURN(client_, Client::Attach(Options(socket)));
    keys_ = RoundKeys(client_->info(), round_.seed, round_.blocks);
    PublicationOptions options;
    if (round_.scenario == Scenario::kRanks) {
      options.engine_instance = 1;
      options.publication = round_.seed + 1;
    }
    options.slice_first = plan_.slice_first;
    options.slice_count = plan_.slice_count;
    options.stall_timeout = plan_.ending == Ending::kStopped
                                ? absl::Milliseconds(kRoundStallMs)
                                : absl::Seconds(30);
    slice_count_ = plan_.slice_count == 0 ? kRoundSlices : plan_.slice_count;
    auto publication = client_->OpenPublication(options);
    if (!publication.ok()) return publication.status();
    publication_.emplace(*std::move(publication));
    return mints_ ? Mint() : absl::OkStatus();
  }

  absl::Status Finish() {
    for (uint32_t step = 0; step < plan_.script.size(); ++step) {
      if (step == plan_.end_at && plan_.ending != Ending::kComplete) {
        switch (plan_.ending) {
          case Ending::kAbort:
            publication_->Abort();
            return publication_->Close();
          case Ending::kShort:
            return publication_->Close();
          case Ending::kKilled:
            ::raise(SIGKILL);
            break;
          case Ending::kStopped:
            KVFERRY_RETURN_IF_ERROR(StandStill());
            break;
          case Ending::kComplete:
            break;
        }
      }
      KVFERRY_RETURN_IF_ERROR(
          WithContext(Do(plan_.script[step]), absl::StrCat("step ", step)));
    }
    return publication_->Close();
  }

 private:
  absl::Status Mint() {
    TicketOptions options;
    options.ttl = absl::Seconds(30);
    options.consumers = 1;
    KVFERRY_ASSIGN_OR_RETURN(
        const Ticket ticket,
        client_->MintTicket(*publication_, 0, keys_, options));
    std::memcpy(lane_.ticket, ticket.bytes.data(), ticket.bytes.size());
    lane_.ticket_bytes.store(static_cast<uint32_t>(ticket.bytes.size()),
                             std::memory_order_release);
    return absl::OkStatus();
  }

  absl::Status Do(const Action& action) {
    switch (action.type) {
      case ActionType::kBegin:
        return Begin(action);
      case ActionType::kWrite:
        Write(action.first, action.count, action.layer, action.layers);
        return absl::OkStatus();
      case ActionType::kLayers:
        // After its recovery from a stop, positions were committed singly.
        if (action.first < committed_) return absl::OkStatus();
        return publication_->CommitLayers(action.first, action.count,
                                          action.layers);
      case ActionType::kCommit:
      case ActionType::kCommitAndWait:
        return Commit(action);
      case ActionType::kHandOver:
        return publication_->SetHandOver(HandOver());
      case ActionType::kPause:
        ::usleep(action.count);  // as if it computed
        return absl::OkStatus();
      case ActionType::kMeet: {
        lane_.begun_ranks.fetch_add(1);
        const absl::Time deadline = absl::Now() + absl::Seconds(20);
        while (lane_.begun_ranks.load() < 2) {
          if (absl::Now() > deadline) {
            return absl::DeadlineExceededError("the other rank never begins");
          }
          ::usleep(200);
        }
        return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }

  std::string HandOver() const {
    return absl::StrCat("hand-over of ", round_.seed);
  }

  absl::Status Begin(const Action& action) {
    const auto keys = std::span(keys_).subspan(action.first, action.count);
    const BlockKey parent =
        action.first == 0 ? BlockKey{} : keys_[action.first - 1];
    KVFERRY_ASSIGN_OR_RETURN(const uint32_t first,
                             publication_->Begin(0, parent, keys));
    if (first != action.first) {
      return absl::InternalError(
          absl::StrCat("began at ", first, ", expected ", action.first));
    }
    for (uint32_t i = 0; i < action.count; ++i) {
      std::vector<std::span<std::byte>>& pages = pages_.emplace_back();
      for (uint32_t s = 0; s < slice_count_; ++s) {
        pages.push_back(publication_->page(first + i, plan_.slice_first + s));
        Scribble(pages.back());
      }
    }
    return absl::OkStatus();
  }

  void Write(uint32_t first, uint32_t count, uint32_t layer, uint32_t layers) {
    for (uint32_t p = std::max(first, committed_); p < first + count; ++p) {
      for (uint32_t s = 0; s < pages_[p].size(); ++s) {
        if (pages_[p][s].empty()) continue;
        const uint64_t offset = layer * kRoundLayerBytes;
        WritePayload(keys_[p], plan_.slice_first + s, offset,
                     pages_[p][s].subspan(offset, layers * kRoundLayerBytes));
      }
    }
  }

  absl::Status Commit(const Action& action) {
    const uint32_t end = action.first + action.count;
    const uint32_t first = std::max(action.first, committed_);
    if (first >= end) return absl::OkStatus();
    said_.committing.store(end);
    // With a deadline that short it may be given up whenever it has to wait for
    // a CPU: then only the daemon's answer tells.
    if (action.type == ActionType::kCommitAndWait ||
        plan_.ending == Ending::kStopped) {
      KVFERRY_RETURN_IF_ERROR(publication_->CommitAndWait(first, end - first));
      LookForFailure(first, end);
    } else {
      LookForFailure(first, end);
      KVFERRY_RETURN_IF_ERROR(publication_->Commit(first, end - first));
    }
    committed_ = end;
    if (whole_) said_.committed.store(end);
    return absl::OkStatus();
  }

  // Once a position is not this one's to write, or void, what is behind it is
  // no longer counted.
  void LookForFailure(uint32_t first, uint32_t end) {
    for (uint32_t p = first; p < end; ++p) {
      const BlockOutcome outcome = publication_->outcome(p);
      whole_ = whole_ && outcome != BlockOutcome::kInFlight &&
               outcome != BlockOutcome::kNoSpace &&
               outcome != BlockOutcome::kVoid;
    }
  }

  // Stands still until somebody continues it; then finds out whether it was
  // given up meanwhile, and if so does the worst that a writer who does not
  // know it may do to its blocks.
  absl::Status StandStill() {
    const auto begun = static_cast<uint32_t>(pages_.size());
    ::raise(SIGSTOP);
    if (committed_ == begun) return absl::OkStatus();
    const uint32_t probe = committed_;
    Write(probe, 1, 0, kRoundLayers);
    said_.committing.store(probe + 1);
    KVFERRY_RETURN_IF_ERROR(publication_->CommitAndWait(probe, 1));
    committed_ = probe + 1;
    const BlockOutcome outcome = publication_->outcome(probe);
    if (outcome == BlockOutcome::kCommitted) {
      if (whole_) said_.committed.store(committed_);
      return absl::OkStatus();
    }
    whole_ = false;
    // A standby that was superseded says nothing of those behind it.
    if (outcome != BlockOutcome::kVoid) return absl::OkStatus();
    for (uint32_t p = committed_; p < begun; ++p) {
      for (const std::span<std::byte> page : pages_[p]) Scribble(page);
      said_.scribbled.fetch_add(1);
    }
    return absl::OkStatus();
  }

  const RoundPlan& round_;
  const PublisherPlan& plan_;
  StreamLane& lane_;
  StreamLane::Publisher& said_;
  const bool mints_;
  std::unique_ptr<Client> client_;
  std::optional<Publication> publication_;
  std::vector<BlockKey> keys_;
  uint32_t slice_count_ = 0;
  std::vector<std::vector<std::span<std::byte>>> pages_;  // by position, slice
  uint32_t committed_ = 0;
  bool whole_ = true;  // every position so far is this one's, or was there
};

}  // namespace

absl::Status RunPublisher(const std::string& socket, const RoundPlan& plan,
                          uint32_t which, StreamLane* lane) {
  Run run(plan, which, lane);
  KVFERRY_RETURN_IF_ERROR(run.Start(socket));
  return run.Finish();
}

absl::Status RunVictim(const std::string& socket, const RoundPlan& plan) {
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client,
                           Client::Attach(Options(socket)));
  const std::vector<BlockKey> keys =
      RoundKeys(client->info(), plan.seed, plan.blocks);
  PrefixStream stream;
  for (;;) {
    KVFERRY_RETURN_IF_ERROR(client->Match(keys, {}, &stream));
    if (stream.WaitCommitted(absl::InfiniteFuture()).ok()) ::pause();
    absl::SleepFor(absl::Milliseconds(1));  // not begun yet: looks again
  }
}

}  // namespace kvferry::test
