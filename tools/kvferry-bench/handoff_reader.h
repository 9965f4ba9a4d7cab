#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_READER_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_READER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kvferry/client.h"
#include "tools/kvferry-bench/handoff_board.h"
#include "tools/kvferry-bench/handoff_content.h"

namespace kvferry::bench {

// The decode server of `handoff`: has the publisher play rounds and takes them
// up. Times are nanoseconds, from the publisher's clock right before it said
// that the last chunk or layer is there.
//
// Life cycle  of a round: Pull, WaitInPlace, or Hold and WaitInVain; then
//             CopyAll, CopyLast and Check at will; then End. StoreAndForward is
//             a round of its own.
// Threads     one
class HandoffReader {
 public:
  // `pages` are the reader's own: block i of a round goes to its i-th page.
  HandoffReader(Client& client, HandoffBoard* board,
                const HandoffContent& content, std::span<std::byte> pages)
      : client_(client), board_(board), content_(content), pages_(pages) {}

  // Copies the round as it comes, until all of it is in its own pages.
  absl::StatusOr<double> Pull(const HandoffRound& round);
  // Waits for each chunk or layer and reads the last word of the last one where
  // it lies.
  absl::StatusOr<double> WaitInPlace(const HandoffRound& round);
  // Takes up a round whose publisher holds its first chunk back.
  absl::Status Hold(const HandoffRound& round) { return Follow(round); }
  // Waits so long for that chunk, then has it come after all.
  // Errors  kInternal  it came
  absl::Status WaitInVain(absl::Duration time);

  // Copies everything, or the last chunk or layer alone, once more between the
  // same pages.
  double CopyAll();
  double CopyLast();
  // Errors  kDataLoss  its own pages hold other bytes than were written
  absl::Status Check() const;
  absl::Status End();

  // Has the publisher commit everything first, then takes ticket, match and
  // copy.
  absl::StatusOr<double> StoreAndForward(const HandoffRound& round);

 private:
  // On return the stream stands, and the publisher begins.
  absl::Status Follow(const HandoffRound& round);
  void Ask(const HandoffRound& round);
  absl::StatusOr<TicketContent> AwaitTicket();
  absl::Status WaitForUnits();
  absl::Status CheckLastWord(uint64_t seen) const;
  double SinceLastWrite(uint64_t now_ns) const;
  std::byte* own_page(uint32_t block) const {
    return pages_.data() + block * content_.page_bytes();
  }

  Client& client_;
  HandoffBoard* const board_;
  const HandoffContent& content_;
  const std::span<std::byte> pages_;
  HandoffRound round_;
  std::vector<BlockKey> keys_;
  Ticket ticket_;
  PrefixStream stream_;
  PinnedPrefix prefix_;
};

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_READER_H_
