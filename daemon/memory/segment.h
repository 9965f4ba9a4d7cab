#ifndef KVFERRY_DAEMON_MEMORY_SEGMENT_H_
#define KVFERRY_DAEMON_MEMORY_SEGMENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "daemon/config/config.h"
#include "protocol/geometry.h"

namespace kvferry::memory {

struct SegmentOptions {
  config::Toggle huge_pages = config::Toggle::kAuto;
  config::Toggle lock = config::Toggle::kAuto;
  int numa_node = config::kNumaAuto;
};

// The memory of a range of blocks: a sealed memory file, on 2 MiB pages when
// there are any, bound to its NUMA node, populated and locked. Ready to be
// used when made. The daemon keeps it mapped, which keeps it locked.
class Segment {
 public:
  // Blocking  while populating; `stop` ends it early
  // Errors    kResourceExhausted  no memory; no huge pages, with `on`
  //           kPermissionDenied   not to be locked, with `on`
  //           kCancelled          *stop
  static absl::StatusOr<std::unique_ptr<Segment>> Make(
      const protocol::SegmentPlan& plan, const SegmentOptions& options,
      const std::atomic<bool>* stop = nullptr);

  const protocol::SegmentPlan& plan() const { return plan_; }
  // Of the file: the plan's, in whole pages of the kind it has.
  uint64_t bytes() const { return bytes_; }
  bool huge() const { return huge_; }
  bool locked() const { return locked_; }
  // What the options asked for in vain, for operators; empty: nothing.
  const std::string& note() const { return note_; }

  // Read-write, for publishers.
  int writer_fd() const { return writer_.get(); }
  // Read-only, for sessions that may not publish. The file is 0600: another
  // user cannot open the descriptor again for writing. Root in a container
  // and the daemon's own user can; against them a namespace would have to be
  // one where only the daemon writes segments.
  int reader_fd() const { return reader_.get(); }

 private:
  absl::Status Create(const SegmentOptions& options,
                      const std::atomic<bool>* stop);
  absl::Status Fill(bool huge, const SegmentOptions& options,
                    const std::atomic<bool>* stop);
  void Note(absl::string_view text);

  protocol::SegmentPlan plan_;
  uint64_t bytes_ = 0;
  bool huge_ = false;
  bool locked_ = false;
  std::string note_;
  UniqueFd writer_;
  UniqueFd reader_;
  Mapping mapping_;
};

inline constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_SEGMENT_H_
