#include "tools/kvferry-bench/handoff_publisher.h"

#include <sys/prctl.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "tools/kvferry-bench/handoff_content.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

// How often it looks for the next round, and whether it may move on. Seldom
// enough not to disturb a reader on the same processor.
constexpr absl::Duration kLookInterval = absl::Microseconds(200);
constexpr uint32_t kGroup = 0;

bool Stopped(const PeerBoard& board) {
  return board.stop.load(std::memory_order_acquire) != 0;
}

void SleepUntil(uint64_t due_ns) {
  const timespec due = {static_cast<time_t>(due_ns / 1'000'000'000),
                        static_cast<long>(due_ns % 1'000'000'000)};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr) ==
         EINTR) {
  }
}

// Hands out the moments at which chunks or layers are made. Behind its
// schedule it starts a new one: a burst would be another pace than the row
// states.
class Pace {
 public:
  explicit Pace(uint64_t interval_ns)
      : interval_ns_(interval_ns), due_ns_(NowNs()) {}

  void AwaitNext() {
    if (interval_ns_ == 0) return;
    due_ns_ += interval_ns_;
    const uint64_t now_ns = NowNs();
    if (due_ns_ > now_ns) {
      SleepUntil(due_ns_);
    } else {
      due_ns_ = now_ns;
    }
  }

 private:
  uint64_t interval_ns_;
  uint64_t due_ns_;
};

// Publishes one round.
class Prefill {
 public:
  Prefill(Client& client, const HandoffContent& content, PeerBoard* peer,
          uint64_t asked)
      : client_(client),
        content_(content),
        peer_(peer),
        board_(&peer->handoff),
        asked_(asked),
        round_(peer->handoff.round),
        keys_(round_.Keys()),
        pace_(round_.interval_ns) {}

  absl::Status Run();

 private:
  // Of the first chunk: the reader knows the prompt, and the namespace's
  // tickets hold no more than half of the pool.
  std::span<const BlockKey> TicketKeys() const {
    return std::span(keys_).first(round_.ChunkSize(0));
  }
  void PostTicket(const Ticket& ticket);
  absl::Status AwaitReader(const std::atomic<uint64_t>& word);
  absl::Status Chunk(Publication* publication, uint32_t first);
  absl::Status TakePages(Publication* publication, uint32_t first);
  // Makes layers [layer, end) of the chunk's pages.
  void Write(uint32_t first, uint32_t layer, uint32_t end);
  absl::Status Commit(Publication* publication, uint32_t first);

  Client& client_;
  const HandoffContent& content_;
  const PeerBoard* const peer_;
  HandoffBoard* const board_;
  const uint64_t asked_;
  const HandoffRound round_;
  const std::vector<BlockKey> keys_;
  std::vector<std::span<std::byte>> pages_;  // of the current chunk
  Pace pace_;
};

absl::Status Prefill::Run() {
  KVFERRY_ASSIGN_OR_RETURN(Publication publication, client_.OpenPublication());
  if (!round_.store_and_forward) {
    KVFERRY_ASSIGN_OR_RETURN(
        const Ticket ticket,
        client_.MintTicket(publication, kGroup, TicketKeys()));
    PostTicket(ticket);
    KVFERRY_RETURN_IF_ERROR(AwaitReader(board_->following));
  }
  pace_ = Pace(round_.interval_ns);
  for (uint32_t first = 0; first < round_.block_count;
       first += round_.chunk_blocks) {
    KVFERRY_RETURN_IF_ERROR(Chunk(&publication, first));
  }
  if (round_.store_and_forward) {
    // Everything is committed; this waits until the daemon has taken it in.
    KVFERRY_RETURN_IF_ERROR(publication.CommitAndWait(0, round_.block_count));
    KVFERRY_ASSIGN_OR_RETURN(const Ticket ticket,
                             client_.MintTicket(kGroup, TicketKeys()));
    PostTicket(ticket);
  }
  return publication.Close();
}

void Prefill::PostTicket(const Ticket& ticket) {
  std::memcpy(board_->ticket, ticket.bytes.data(), ticket.bytes.size());
  board_->ticket_bytes = static_cast<uint32_t>(ticket.bytes.size());
  board_->ticketed.store(asked_, std::memory_order_release);
}

absl::Status Prefill::AwaitReader(const std::atomic<uint64_t>& word) {
  const uint64_t start_ns = NowNs();
  while (word.load(std::memory_order_acquire) < asked_) {
    if (Stopped(*peer_)) {
      return absl::CancelledError(
          absl::StrCat("told to stop in the midst of round ", round_.number));
    }
    if (NowNs() - start_ns > kHandoffTimeoutNs) {
      return absl::DeadlineExceededError(
          absl::StrCat("the reader has not taken up round ", round_.number,
                       " for two minutes"));
    }
    absl::SleepFor(kLookInterval);
  }
  return absl::OkStatus();
}

absl::Status Prefill::Chunk(Publication* publication, uint32_t first) {
  const uint32_t count = round_.ChunkSize(first);
  const BlockKey parent = first == 0 ? BlockKey() : keys_[first - 1];
  KVFERRY_RETURN_IF_ERROR(
      publication->Begin(kGroup, parent, std::span(keys_).subspan(first, count))
          .status());
  if (round_.hold && first == 0) {
    KVFERRY_RETURN_IF_ERROR(AwaitReader(board_->moving_on));
  }
  KVFERRY_RETURN_IF_ERROR(TakePages(publication, first));

  const uint32_t layers = content_.layer_count();
  if (!round_.by_layer) {
    pace_.AwaitNext();
    Write(first, 0, layers);
    return Commit(publication, first);
  }
  for (uint32_t layer = 0; layer + 1 < layers; ++layer) {
    pace_.AwaitNext();
    Write(first, layer, layer + 1);
    KVFERRY_RETURN_IF_ERROR(publication->CommitLayers(first, count, layer + 1));
  }
  pace_.AwaitNext();
  Write(first, layers - 1, layers);
  return Commit(publication, first);
}

absl::Status Prefill::TakePages(Publication* publication, uint32_t first) {
  pages_.resize(round_.ChunkSize(first));
  for (uint32_t i = 0; i < pages_.size(); ++i) {
    pages_[i] = publication->page(first + i, 0);
    if (!pages_[i].empty()) continue;
    return absl::InternalError(
        absl::StrCat("block ", first + i, " of ", round_.block_count,
                     " has no page to write to: its outcome is ",
                     static_cast<int>(publication->outcome(first + i))));
  }
  return absl::OkStatus();
}

void Prefill::Write(uint32_t first, uint32_t layer, uint32_t end) {
  const uint64_t bytes = content_.layer_bytes();
  for (uint32_t i = 0; i < pages_.size(); ++i) {
    for (uint32_t l = layer; l < end; ++l) {
      CopyBytes(pages_[i].data() + l * bytes,
                content_.Layer(round_.number, first + i, l), bytes);
    }
  }
}

absl::Status Prefill::Commit(Publication* publication, uint32_t first) {
  const uint32_t count = round_.ChunkSize(first);
  if (first + count == round_.block_count) {
    board_->last_write_ns.store(NowNs(), std::memory_order_relaxed);
  }
  return publication->Commit(first, count);
}

absl::Status RunRounds(Client& client, PeerBoard* board) {
  // What a timer may be late by; 50 us otherwise.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  KVFERRY_ASSIGN_OR_RETURN(
      const HandoffContent content,
      HandoffContent::Make(client.info().spec.groups[kGroup]));
  HandoffBoard* const handoff = &board->handoff;
  board->ready.store(1, std::memory_order_release);
  uint64_t done = 0;
  while (!Stopped(*board)) {
    const uint64_t asked = handoff->asked.load(std::memory_order_acquire);
    if (asked == done) {
      absl::SleepFor(kLookInterval);
      continue;
    }
    KVFERRY_RETURN_IF_ERROR(Prefill(client, content, board, asked).Run());
    done = asked;
    handoff->finished.store(done, std::memory_order_release);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunHandoffPublisher(Client& client, PeerBoard* board) {
  absl::Status status = RunRounds(client, board);
  if (!status.ok()) board->handoff.failed.store(1, std::memory_order_release);
  return status;
}

}  // namespace kvferry::bench
