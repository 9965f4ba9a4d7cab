#include <unistd.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/handoff_publisher.h"
#include "tools/kvferry-bench/peer.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/stage.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

// Blocks of one call of the publishing peer.
constexpr uint64_t kChurnBatch = 64;

bool Stopped(const PeerBoard& board) {
  return board.stop.load(std::memory_order_acquire) != 0;
}

absl::Status RunChurn(Client& client, PeerBoard* board) {
  std::vector<std::byte> page(board->page_bytes);
  FillRandom(page, board->key_seed);
  const std::vector<const std::byte*> sources(kChurnBatch, page.data());
  std::vector<BlockKey> keys(kChurnBatch);
  const absl::Duration interval =
      absl::Seconds(static_cast<double>(kChurnBatch) / board->blocks_per_s);
  board->ready.store(1, std::memory_order_release);

  uint64_t next = 0;
  absl::Time due = absl::Now();
  while (!Stopped(*board)) {
    for (BlockKey& key : keys) key = KeyAt(board->key_seed, next++);
    KVFERRY_ASSIGN_OR_RETURN(const uint32_t visible,
                             client.Publish(0, {}, keys, sources));
    board->done.fetch_add(visible, std::memory_order_relaxed);
    // Behind its schedule it starts a new one: a burst would be another load
    // than the one the row states.
    due += interval;
    const absl::Time now = absl::Now();
    if (due < now) due = now;
    absl::SleepFor(due - now);
  }
  return absl::OkStatus();
}

absl::Status RunWaiter(Client& client, PeerBoard* board) {
  PinnedPrefix prefix;
  board->ready.store(1, std::memory_order_release);
  for (uint64_t round = 0; !Stopped(*board); ++round) {
    const BlockKey key = KeyAt(board->key_seed, round);
    do {
      KVFERRY_RETURN_IF_ERROR(client.Match({&key, 1}, &prefix));
    } while (prefix.tokens() == 0 && !Stopped(*board));
    board->seen_ns.store(NowNs(), std::memory_order_relaxed);
    prefix.Release();
    if (Stopped(*board)) break;
    board->done.store(round + 1, std::memory_order_release);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunPeer(int board_fd) {
  const UniqueFd file(board_fd);
  KVFERRY_ASSIGN_OR_RETURN(
      const Mapping memory,
      Mapping::Map(file.get(), sizeof(PeerBoard), Mapping::Access::kReadWrite));
  auto* const board = memory.At<PeerBoard>(0);
  KVFERRY_RETURN_IF_ERROR(PinThread(board->cpu));
  const bool publish = board->role != PeerRole::kWaiter;
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<Client> client,
      EnterStage(board->socket, board->namespace_name, publish));
  switch (board->role) {
    case PeerRole::kChurn:
      return RunChurn(*client, board);
    case PeerRole::kWaiter:
      return RunWaiter(*client, board);
    case PeerRole::kPublisher:
      return RunHandoffPublisher(*client, board);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "peer role ", static_cast<uint32_t>(board->role), " is none"));
}

}  // namespace kvferry::bench
