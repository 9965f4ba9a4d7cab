#ifndef KVFERRY_GPU_EMULATED_CONTEXT_H_
#define KVFERRY_GPU_EMULATED_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "gpu/emulated/stream_queue.h"

namespace kvferry::gpu {

// What the Devices of one number share in a process, as CUDA's have the primary
// context: the default stream, how much memory is taken, and whether it is
// broken. It goes with the last that uses it; the next one is sound.
//
// Faults are for tests. Pieces of work (a CopyAsync, Gather or Scatter) are
// counted when they are queued, so a fault is the same one in every run.
//
// Threads  any number at once
class EmulatedContext {
 public:
  // What becomes of a piece of work.
  enum class Fate : uint8_t {
    kDone,
    kFails,  // breaks the device in its place
    kHangs,  // waits for ReleaseHung, or for the device to break
  };

  // The context of this process's emulated:N.
  static std::shared_ptr<EmulatedContext> Of(uint32_t number);
  explicit EmulatedContext(uint32_t number);

  uint32_t number() const { return number_; }
  std::string name() const;  // "emulated:N"
  StreamQueue& default_stream() { return default_stream_; }

  // Errors  kUnavailable  it is broken; what broke it
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);
  void Break(const std::string& why) ABSL_LOCKS_EXCLUDED(mutex_);

  // Memory of this process on the device, out of `total_bytes`.
  // Errors  kResourceExhausted
  absl::Status TakeMemory(uint64_t bytes, uint64_t total_bytes)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveMemory(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t memory_bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Of the next piece of work.
  Fate NextFate() ABSL_LOCKS_EXCLUDED(mutex_);
  // The k-th piece of work from now, 1 for the next, will fare so. One fault at
  // a time.
  void SetFate(uint64_t k, Fate fate) ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocking  until ReleaseHung or Break
  void Hang() ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets go on what hangs, or is still to.
  void ReleaseHung() ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocking  until a piece of work hangs
  void WaitUntilHung() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const uint32_t number_;
  mutable Mutex mutex_;
  CondVar changed_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  uint64_t memory_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t work_count_ ABSL_GUARDED_BY(mutex_) = 0;  // pieces queued
  uint64_t fault_at_ ABSL_GUARDED_BY(mutex_) = 0;    // 0: none
  Fate fault_ ABSL_GUARDED_BY(mutex_) = Fate::kDone;
  uint32_t hung_ ABSL_GUARDED_BY(mutex_) = 0;      // pieces that hang now
  bool released_ ABSL_GUARDED_BY(mutex_) = false;  // since the last SetFate
  StreamQueue default_stream_;  // the last member: its steps use the others
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_CONTEXT_H_
