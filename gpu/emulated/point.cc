#include "gpu/emulated/point.h"

namespace kvferry::gpu {

void Point::Reach(const absl::Status& status) {
  MutexLock lock(&mutex_);
  status_ = status;
  reached_.NotifyAll();
}

std::optional<absl::Status> Point::status() const {
  MutexLock lock(&mutex_);
  return status_;
}

absl::Status Point::Wait() const {
  MutexLock lock(&mutex_);
  while (!status_) reached_.Wait(&mutex_);
  return *status_;
}

}  // namespace kvferry::gpu
