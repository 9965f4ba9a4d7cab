#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_JOB_CHANNEL_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_JOB_CHANNEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace kvferry::replay {

// What a worker is given: one request of the trace.
struct Job {
  uint32_t request = 0;  // its number in the replay, from 0
  uint32_t line = 0;     // in the trace's file, for messages
  uint64_t input_tokens = 0;
  std::vector<uint64_t> hash_ids;
};

// What a worker made of it. Times are of the calls' whole durations.
struct JobResult {
  uint32_t request = 0;
  uint32_t blocks = 0;
  uint32_t hit_blocks = 0;  // pinned and verified
  uint32_t revoked = 0;     // 1: the daemon took the pins back; a miss
  uint32_t mismatched_blocks = 0;
  uint32_t written_blocks = 0;    // by this worker, visible now
  uint32_t existing_blocks = 0;   // published by another meanwhile
  uint32_t in_flight_blocks = 0;  // being published by another
  uint32_t no_space_blocks = 0;
  uint32_t void_blocks = 0;
  uint64_t input_tokens = 0;
  uint64_t hit_tokens = 0;
  uint64_t read_bytes = 0;
  uint64_t written_bytes = 0;
  uint64_t match_ns = 0;
  uint64_t publish_ns = 0;  // begin, fill, commit, until visible
};

enum class WorkerEvent : uint32_t {
  kReady = 1,   // attached
  kDone = 2,    // one job; its result follows
  kFailed = 3,  // it ends; the status says why
};

struct WorkerMessage {
  WorkerEvent event = WorkerEvent::kReady;
  JobResult result = {};     // of kDone
  absl::Status status = {};  // of kFailed
};

// One end of the stream between the coordinator and one worker. Both are the
// same program, so structs travel as they are.
// Threads  one
class JobChannel {
 public:
  explicit JobChannel(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }

  // Waits until the other side has room; a worker reads all the time it is
  // not at a job.
  // Errors  kUnavailable  the other side is gone
  absl::Status SendJob(const Job& job);
  absl::Status SendMessage(const WorkerMessage& message);

  // Waits for the next one; nothing when the other side has closed.
  // Errors  kUnavailable  it went away in the middle of one
  absl::StatusOr<std::optional<Job>> ReceiveJob();
  absl::StatusOr<std::optional<WorkerMessage>> ReceiveMessage();

  // Says that no more jobs come: the worker's ReceiveJob returns nothing.
  void CloseJobs();

 private:
  absl::Status Send(const void* data, size_t bytes);
  // False at the end of the stream before the first byte.
  absl::StatusOr<bool> Receive(void* data, size_t bytes);

  UniqueFd fd_;
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_JOB_CHANNEL_H_
