#ifndef KVFERRY_DAEMON_MEMORY_SEGMENT_MAKER_H_
#define KVFERRY_DAEMON_MEMORY_SEGMENT_MAKER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "daemon/memory/segment.h"

namespace kvferry::memory {

struct SegmentJob {
  uint64_t namespace_id = 0;
  protocol::SegmentPlan plan;
};

struct SegmentResult {
  SegmentJob job;
  absl::StatusOr<std::unique_ptr<Segment>> segment;
};

// Orders to the thread that makes segments, and what it made.
//
// Threads  thread-safe; a lock of this process, held for a push or a pop
class SegmentMakerProxy {
 public:
  static constexpr size_t kQueueMax = 64;

  // Errors  as ErrnoStatus
  static absl::StatusOr<std::unique_ptr<SegmentMakerProxy>> Make();

  // False when the queue is full: offer it again when a result came.
  bool TrySubmit(const SegmentJob& job);
  std::vector<SegmentResult> TakeResults();
  // An eventfd, readable while there are results; the caller of TakeResults
  // resets it.
  int results_fd() const { return results_fd_.get(); }
  // How often TrySubmit refused.
  uint64_t full_count() const;

 private:
  friend class SegmentMaker;

  SegmentMakerProxy() = default;
  // Blocks until there is a job; false: stopped.
  bool WaitForJob(SegmentJob* job);
  bool TakeJob(SegmentJob* job);
  void Post(SegmentResult result);
  void Stop();

  UniqueFd results_fd_;
  // Read between two steps of populating; stored once, by Stop.
  std::atomic<bool> stopping_{false};
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<SegmentJob> jobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<SegmentResult> results_ ABSL_GUARDED_BY(mutex_);
  uint64_t full_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Makes segments in the background, in the order they were asked for: the
// kernel zeroes pages at 0.4 to 10 GB/s, which no event loop can wait for.
class SegmentMaker {
 public:
  // Neither starts a thread nor owns the proxy, which outlives it.
  SegmentMaker(SegmentMakerProxy* proxy, const SegmentOptions& options)
      : proxy_(*proxy), options_(options) {}
  ~SegmentMaker() { Stop(); }
  SegmentMaker(const SegmentMaker&) = delete;
  SegmentMaker& operator=(const SegmentMaker&) = delete;

  // Makes the next segment, if one is asked for. Returns 1, or 0.
  size_t DoWork();

  void Start();
  // Ends what is being made and joins the thread.
  void Stop();

 private:
  void Make(const SegmentJob& job);

  SegmentMakerProxy& proxy_;
  const SegmentOptions options_;
  std::thread thread_;
};

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_SEGMENT_MAKER_H_
