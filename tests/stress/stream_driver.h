#ifndef KVFERRY_TESTS_STRESS_STREAM_DRIVER_H_
#define KVFERRY_TESTS_STRESS_STREAM_DRIVER_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kvferry/client.h"
#include "tests/stress/stream_lane.h"
#include "tests/stress/stream_round.h"

namespace kvferry::test {

// Runs rounds one after the other: starts the publishers' processes, its
// readers in threads, continues whom it stopped, and checks what was left.
// Threads  one; several drivers may share a daemon
class StreamDriver {
 public:
  struct Options {
    std::string socket;
    int lanes_fd = -1;  // that children inherit
    uint32_t lane_index = 0;
    StreamLane* lane = nullptr;
    // How long a reader may stay when nobody publishes any more, and how long
    // any wait may last before it counts as left behind.
    absl::Duration release_limit;
    absl::Duration patience;
  };
  explicit StreamDriver(const Options& options) : options_(options) {}

  absl::Status Attach();
  absl::Status RunRound(const RoundPlan& plan);

  uint64_t verified_blocks() const { return verified_blocks_; }
  uint64_t streams() const { return streams_; }
  uint64_t scribbled_blocks() const { return scribbled_blocks_; }
  absl::Duration slowest_release() const { return slowest_release_; }

 private:
  struct Child {
    pid_t pid = 0;  // 0: none, or gone
    int wait_status = 0;
    bool stopped = false;
    absl::Time stopped_at;
  };

  void ResetLane();
  // `which`: a publisher's number; the victim's is the number of publishers.
  pid_t Spawn(const RoundPlan& plan, uint32_t which) const;
  // Until every publisher has ended; continues those that stand still.
  absl::Status WatchPublishers(const RoundPlan& plan,
                               const std::atomic<uint32_t>& readers_done,
                               std::vector<Child>* publishers, Child* victim);
  absl::Status CheckEndings(const RoundPlan& plan,
                            const std::vector<Child>& publishers) const;
  // What is there afterwards is right, and no less than was committed.
  absl::Status CheckWhatIsLeft(const RoundPlan& plan);
  uint32_t Committed(const RoundPlan& plan) const;
  uint32_t Committing(const RoundPlan& plan) const;

  const Options options_;
  std::vector<std::unique_ptr<Client>> clients_;  // one a reader
  uint64_t verified_blocks_ = 0;
  uint64_t streams_ = 0;
  uint64_t scribbled_blocks_ = 0;
  absl::Duration slowest_release_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_STRESS_STREAM_DRIVER_H_
