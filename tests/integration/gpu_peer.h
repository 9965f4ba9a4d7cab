#ifndef KVFERRY_TESTS_INTEGRATION_GPU_PEER_H_
#define KVFERRY_TESTS_INTEGRATION_GPU_PEER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "tests/integration/gpu_engine.h"

namespace kvferry::test {

// A GpuEngine in a process of its own: this program, started again, which does
// what it is told (gpu_peer.cc has its main function).
//
//  1. Start returns once it is attached and has imported the pools.
//  2. Calls, each of which returns when the process has done it; or Churn, and
//     then lines; Kill at any point.
//  3. The destructor kills it.
//
// The process gets SIGKILL when the thread that started it ends.
// Threads  one at a time
class GpuPeer {
 public:
  static absl::StatusOr<std::unique_ptr<GpuPeer>> Start(
      const GpuEngine::Options& options);
  ~GpuPeer();
  GpuPeer(const GpuPeer&) = delete;
  GpuPeer& operator=(const GpuPeer&) = delete;

  absl::Status Publish(uint64_t n, uint32_t count,
                       const GpuEngine::PublishHow& how);
  // OK: everything that hit was right.
  absl::StatusOr<GpuEngine::Pulled> Pull(uint64_t n, uint32_t count,
                                         uint32_t tail_tokens = 0,
                                         uint32_t layers_a_piece = 0);

  // Publishes and pulls prompts of its own choice, among `prompts` of 16 keys
  // from key 0 on, until it is killed.
  absl::Status Churn(uint64_t seed, uint32_t prompts);
  // Waits until it has done so many more steps of that. Errors  kDataLoss: a
  // pull that went well had wrong bytes; kUnavailable: it is gone
  absl::Status AwaitSteps(uint32_t steps);

  // SIGKILL, and waits until it is gone.
  void Kill();
  pid_t pid() const { return pid_; }

 private:
  GpuPeer() = default;
  absl::StatusOr<std::string> Call(const std::string& command);
  absl::StatusOr<std::string> ReadLine();

  pid_t pid_ = 0;
  UniqueFd to_;
  UniqueFd from_;
  std::string read_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_GPU_PEER_H_
