#ifndef KVFERRY_TESTS_STRESS_STREAM_READER_H_
#define KVFERRY_TESTS_STRESS_STREAM_READER_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kvferry/client.h"
#include "tests/stress/stream_lane.h"
#include "tests/stress/stream_round.h"

namespace kvferry::test {

// Follows one prompt, checks every byte that it may use, and begins anew when a
// stream failed and somebody may have taken over.
// Threads  one
class StreamReader {
 public:
  StreamReader(Client* client, const RoundPlan& round, const ReaderPlan& plan,
               const StreamLane& lane);

  // Returns when its stream is complete or nobody writes on. Never waits longer
  // than `patience` for one thing.
  // Errors  kDeadlineExceeded  a waiter was left behind
  //         kDataLoss          bytes that were accepted are wrong
  //         anything else      what no stream of a round should say
  absl::Status Run(absl::Duration patience);

  // The most leading blocks that it was told to have.
  uint32_t accepted() const { return accepted_; }
  uint64_t verified_blocks() const { return verified_blocks_; }
  uint32_t streams() const { return streams_; }

 private:
  bool NobodyWritesOn() const {
    return lane_.publishers_gone.load() != 0 ||
           lane_.publishers_stopped.load() != 0;
  }
  // Waits for its point to join.
  absl::Status Join();
  absl::Status Open();
  // Follows the open stream to its end; OK when that says what it may.
  absl::Status Follow();
  absl::Status Pull(bool by_layer);
  absl::Status ChunksInPlace();
  absl::Status LayersInPlace();
  absl::Status EventLoop();
  absl::Status Changes();
  // Looks at what is ok by now, in place.
  absl::Status Check();
  // Looks at the layers that are said to be there, without believing them yet.
  void LookAtLayers();
  absl::Status Accept(uint32_t blocks, const std::vector<bool>& right);
  absl::Time Deadline() const { return absl::Now() + patience_; }

  Client* const client_;
  const RoundPlan& round_;
  const ReaderPlan& plan_;
  const StreamLane& lane_;
  std::mt19937_64 random_;
  absl::Duration patience_;
  std::vector<BlockKey> keys_;
  PrefixStream stream_;
  std::vector<bool> layers_right_;  // of each block, as far as looked at
  bool use_ticket_;
  uint32_t accepted_ = 0;
  uint64_t verified_blocks_ = 0;
  uint32_t streams_ = 0;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_STRESS_STREAM_READER_H_
