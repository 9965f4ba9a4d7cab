#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_COORDINATOR_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_COORDINATOR_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tools/kvferry-replay/child_process.h"
#include "tools/kvferry-replay/interrupt.h"
#include "tools/kvferry-replay/job_channel.h"
#include "tools/kvferry-replay/options.h"
#include "tools/kvferry-replay/report.h"
#include "tools/kvferry-replay/trace_reader.h"

namespace kvferry::replay {

// Deals a trace's requests to worker processes, in order, each to the one with
// the fewest at hand, and gathers what comes back.
//
// Life cycle  1. StartWorkers, until every one has attached   2. Replay
//             3. EndWorkers, or destroy, which kills them.
// Threads     one; the process has no others when workers are started
class Coordinator {
 public:
  // `options.socket` names the daemon. All three outlive it.
  Coordinator(const ReplayOptions& options,
              const std::vector<TraceRequest>& requests,
              const InterruptWatch& interrupt);
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  // Errors  as the workers' Attach; kCancelled  a signal came
  absl::Status StartWorkers();

  // Errors  kCancelled  a signal came
  //         kAborted    a worker died; the message names it and where it was
  //         as a worker's calls of its Client; the message is its own
  absl::Status Replay(ReplayReport* report);

  // Errors  kDeadlineExceeded, kAborted  a worker did not end, or badly
  absl::Status EndWorkers();

 private:
  struct Worker {
    uint32_t number = 0;
    bool ready = false;
    std::unique_ptr<JobChannel> channel;
    std::unique_ptr<ChildProcess> process;
    std::deque<uint32_t> at_hand;  // numbers of its requests, oldest first
  };

  absl::Status StartWorker(uint32_t number);
  // Waits until a worker or a signal has something, at most `timeout`, and
  // takes it in. `report` may be null while no result is expected.
  absl::Status TakeIn(absl::Duration timeout, ReplayReport* report);
  absl::Status TakeInFrom(Worker* worker, ReplayReport* report);
  // Why a worker's channel ended.
  absl::Status DescribeDeath(Worker* worker);
  // Deals what is due; sets when the next request is due if that is later.
  absl::Status Deal(absl::Time start, absl::Time* next_due);
  Worker* LeastBusy();

  const ReplayOptions& options_;
  const std::vector<TraceRequest>& requests_;
  const InterruptWatch& interrupt_;
  std::vector<Worker> workers_;
  uint32_t dealt_ = 0;
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_COORDINATOR_H_
