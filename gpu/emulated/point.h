#ifndef KVFERRY_GPU_EMULATED_POINT_H_
#define KVFERRY_GPU_EMULATED_POINT_H_

#include <optional>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace kvferry::gpu {

// A place in a stream: one Record of an event. It is reached once, by its
// stream's thread, whatever became of the work before it, so that nobody waits
// for it for ever.
//
// Threads  any number at once
class Point {
 public:
  // `status`: of the device, at that place.
  void Reach(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

  // Nothing: not reached yet.
  std::optional<absl::Status> status() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocking
  absl::Status Wait() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable Mutex mutex_;
  mutable CondVar reached_;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_POINT_H_
