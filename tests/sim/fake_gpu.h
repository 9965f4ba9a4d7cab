#ifndef KVFERRY_TESTS_SIM_FAKE_GPU_H_
#define KVFERRY_TESTS_SIM_FAKE_GPU_H_

#include <cstdint>
#include <vector>

#include "daemon/core/namespace_types.h"

namespace kvferry::sim {

class World;

// A device, its memory and its worker, and what the daemon does about them.
//
// It copies page by page, several blocks at once, and completes them in any
// order, some as failed. It dies at any moment, which the daemon learns of
// later, and comes back with new memory, in which there is anything. What a
// dead worker was copying to the host may go on being written until
// protocol::kGpuRestMs after the daemon has learned of it, and completions of
// it that come then say nothing.
class FakeGpu {
 public:
  FakeGpu(World* world, uint32_t device, std::vector<uint32_t> pools);

  // One step of the device, its worker or the daemon's side of it.
  void Step();
  // Comes back if it must, and dies no more.
  void WindDown() { winding_down_ = true; }
  // Has memory, and nothing to copy.
  bool idle() const;

  uint32_t device() const { return device_; }
  const std::vector<uint32_t>& pools() const { return pools_; }

 private:
  enum class State { kDown, kUp, kDead };
  struct Job {
    core::CopyOrder order;
    uint32_t pages = 0;  // copied so far
  };
  struct Ghost {
    uint32_t block = 0;
    uint64_t until_ms = ~uint64_t{0};
  };

  void Come();
  void Die();
  void Notice();
  void TakeSome();
  void CopyOne();
  void CompleteOne();
  void Haunt();

  World& world_;
  const uint32_t device_;
  const std::vector<uint32_t> pools_;
  State state_ = State::kDown;
  bool winding_down_ = false;
  std::vector<Job> jobs_;
  std::vector<Ghost> ghosts_;
  std::vector<uint64_t> late_ids_;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_FAKE_GPU_H_
