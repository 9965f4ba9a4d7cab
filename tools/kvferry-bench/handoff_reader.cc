#include "tools/kvferry-bench/handoff_reader.h"

#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(2);
constexpr uint32_t kGroup = 0;

}  // namespace

void HandoffReader::Ask(const HandoffRound& round) {
  round_ = round;
  keys_ = round.Keys();
  board_->round = round;
  board_->asked.fetch_add(1, std::memory_order_release);
}

absl::StatusOr<TicketContent> HandoffReader::AwaitTicket() {
  const uint64_t asked = board_->asked.load(std::memory_order_relaxed);
  KVFERRY_RETURN_IF_ERROR(
      AwaitHandoff(*board_, board_->ticketed, asked, "the round's ticket"));
  ticket_.bytes.assign(board_->ticket, board_->ticket_bytes);
  return client_.RedeemTicket(ticket_);
}

absl::Status HandoffReader::Follow(const HandoffRound& round) {
  Ask(round);
  KVFERRY_ASSIGN_OR_RETURN(const TicketContent content, AwaitTicket());
  StreamOptions options;
  options.group = content.group;
  options.publication = content.publication;
  KVFERRY_RETURN_IF_ERROR(client_.Match(keys_, options, &stream_));
  board_->following.store(board_->asked.load(std::memory_order_relaxed),
                          std::memory_order_release);
  return absl::OkStatus();
}

absl::StatusOr<double> HandoffReader::Pull(const HandoffRound& round) {
  KVFERRY_RETURN_IF_ERROR(Follow(round));
  PrefixStream::PullOptions options;
  options.by_layer = round.by_layer;
  const uint64_t layer_bytes = content_.layer_bytes();
  KVFERRY_RETURN_IF_ERROR(stream_.PullTo(
      options,
      [&](uint32_t block, uint32_t /*slice*/, uint32_t layer,
          uint32_t /*layers*/, std::span<const std::byte> bytes) {
        CopyBytes(own_page(block) + layer * layer_bytes, bytes.data(),
                  bytes.size());
      },
      absl::Now() + kPatience));
  return SinceLastWrite(NowNs());
}

absl::StatusOr<double> HandoffReader::WaitInPlace(const HandoffRound& round) {
  KVFERRY_RETURN_IF_ERROR(Follow(round));
  KVFERRY_RETURN_IF_ERROR(WaitForUnits());
  uint64_t word;
  const std::span<const std::byte> page = stream_.page(round.block_count - 1);
  if (page.empty()) return absl::InternalError("an ok block has no page");
  std::memcpy(&word, page.data() + page.size() - sizeof(word), sizeof(word));
  // The time is taken once the word is there.
  asm volatile("" : : "r"(word) : "memory");
  const double visible_ns = SinceLastWrite(NowNs());
  KVFERRY_RETURN_IF_ERROR(CheckLastWord(word));
  return visible_ns;
}

absl::Status HandoffReader::WaitForUnits() {
  const absl::Time deadline = absl::Now() + kPatience;
  for (uint32_t first = 0; first < round_.block_count;
       first += round_.chunk_blocks) {
    const uint32_t end = first + round_.ChunkSize(first);
    if (round_.by_layer) {
      for (uint32_t layers = 1; layers < content_.layer_count(); ++layers) {
        KVFERRY_RETURN_IF_ERROR(stream_.WaitLayer(end, layers, deadline));
      }
    }
    KVFERRY_RETURN_IF_ERROR(stream_.WaitChunk(end, deadline));
  }
  return absl::OkStatus();
}

absl::Status HandoffReader::CheckLastWord(uint64_t seen) const {
  uint64_t written;
  const std::byte* const layer = content_.Layer(
      round_.number, round_.block_count - 1, content_.layer_count() - 1);
  std::memcpy(&written, layer + content_.layer_bytes() - sizeof(written),
              sizeof(written));
  if (seen == written) return absl::OkStatus();
  return absl::DataLossError("the last word read in place is a wrong one");
}

absl::Status HandoffReader::WaitInVain(absl::Duration time) {
  const absl::Status waited =
      stream_.WaitChunk(round_.ChunkSize(0), absl::Now() + time);
  board_->moving_on.store(board_->asked.load(std::memory_order_relaxed),
                          std::memory_order_release);
  if (waited.code() == absl::StatusCode::kDeadlineExceeded) {
    return absl::OkStatus();
  }
  if (!waited.ok()) return waited;
  return absl::InternalError("a chunk came that nobody had written yet");
}

double HandoffReader::CopyAll() {
  const uint64_t start_ns = NowNs();
  for (uint32_t i = 0; i < round_.block_count; ++i) {
    const std::span<const std::byte> page = stream_.page(i);
    CopyBytes(own_page(i), page.data(), page.size());
  }
  return static_cast<double>(NowNs() - start_ns);
}

double HandoffReader::CopyLast() {
  // After a copy of everything the last pages are still in the cache; when
  // they came from the publisher they were not in this processor's.
  content_.SweepCaches();
  const uint64_t offset =
      round_.by_layer ? content_.page_bytes() - content_.layer_bytes() : 0;
  const uint64_t bytes = content_.page_bytes() - offset;
  const uint64_t start_ns = NowNs();
  for (uint32_t i = round_.LastChunkFirst(); i < round_.block_count; ++i) {
    CopyBytes(own_page(i) + offset, stream_.page(i).data() + offset, bytes);
  }
  return static_cast<double>(NowNs() - start_ns);
}

absl::Status HandoffReader::Check() const {
  for (uint32_t i = 0; i < round_.block_count; ++i) {
    KVFERRY_RETURN_IF_ERROR(content_.CheckPage(
        round_.number, i, {own_page(i), content_.page_bytes()}));
  }
  return absl::OkStatus();
}

absl::Status HandoffReader::End() {
  stream_.Release();
  KVFERRY_RETURN_IF_ERROR(client_.ReleaseTicket(ticket_));
  return AwaitHandoff(*board_, board_->finished,
                      board_->asked.load(std::memory_order_relaxed),
                      "the end of the round");
}

absl::StatusOr<double> HandoffReader::StoreAndForward(
    const HandoffRound& round) {
  Ask(round);
  KVFERRY_RETURN_IF_ERROR(AwaitTicket().status());
  KVFERRY_RETURN_IF_ERROR(client_.Match(keys_, &prefix_));
  const uint32_t count = prefix_.block_count(kGroup);
  for (uint32_t i = 0; i < count; ++i) {
    const std::span<const std::byte> page = prefix_.page(i);
    CopyBytes(own_page(i), page.data(), page.size());
  }
  KVFERRY_RETURN_IF_ERROR(prefix_.Check());
  const double taken_ns = SinceLastWrite(NowNs());
  prefix_.Release();
  if (count != round.block_count) {
    return absl::InternalError(absl::StrCat("only ", count, " of ",
                                            round.block_count,
                                            " blocks of a ticket were hit"));
  }
  KVFERRY_RETURN_IF_ERROR(End());
  return taken_ns;
}

double HandoffReader::SinceLastWrite(uint64_t now_ns) const {
  return static_cast<double>(
      now_ns - board_->last_write_ns.load(std::memory_order_relaxed));
}

}  // namespace kvferry::bench
