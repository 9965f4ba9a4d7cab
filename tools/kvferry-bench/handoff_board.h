#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_BOARD_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_BOARD_H_

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "protocol/limits.h"
#include "tools/kvferry-bench/handoff_round.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {

// What the two processes of `handoff` tell each other beside the cache: which
// prompt comes next, its ticket, and when its last byte was written.
//
// A round  1. reader: round, then `asked` counts up   2. publisher: ticket,
//          then `ticketed` = asked   3. reader: `following` = asked, once its
//          stream stands   4. publisher writes (holding, until `moving_on` =
//          asked)   5. publisher: `last_write_ns` right before it says that
//          the last chunk or layer is there   6. publisher: `finished` = asked
// Under store_and_forward 2 comes after 5 and there is no 3.
struct HandoffBoard {
  // Written by the reader, read after `asked` (acquire).
  HandoffRound round;
  alignas(64) std::atomic<uint64_t> asked;
  std::atomic<uint64_t> following;
  std::atomic<uint64_t> moving_on;

  // Written by the publisher, read after `ticketed` (acquire).
  alignas(64) uint32_t ticket_bytes = 0;
  char ticket[protocol::kTicketBytesMax] = {};
  alignas(64) std::atomic<uint64_t> ticketed;
  std::atomic<uint64_t> finished;
  // The publisher gave up; why is on its standard error.
  std::atomic<uint32_t> failed;
  // NowNs(); the reader takes it once it has seen the bytes themselves, which
  // are released after it.
  std::atomic<uint64_t> last_write_ns;
};

inline constexpr uint64_t kHandoffTimeoutNs = uint64_t{120} * 1'000'000'000;

// Gives the processor away until `word` says `value` or more.
// Errors  kUnavailable       the publisher failed
//         kDeadlineExceeded  it takes over two minutes; `what` did not happen
inline absl::Status AwaitHandoff(const HandoffBoard& board,
                                 const std::atomic<uint64_t>& word,
                                 uint64_t value, const char* what) {
  const uint64_t start_ns = NowNs();
  while (word.load(std::memory_order_acquire) < value) {
    if (board.failed.load(std::memory_order_acquire) != 0) {
      return absl::UnavailableError("the publishing process failed");
    }
    if (NowNs() - start_ns > kHandoffTimeoutNs) {
      return absl::DeadlineExceededError(
          absl::StrCat("two minutes went by, and not yet: ", what));
    }
    ::sched_yield();
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_BOARD_H_
