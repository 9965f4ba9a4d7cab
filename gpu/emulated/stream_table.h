#ifndef KVFERRY_GPU_EMULATED_STREAM_TABLE_H_
#define KVFERRY_GPU_EMULATED_STREAM_TABLE_H_

#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "gpu/emulated/stream_queue.h"

namespace kvferry::gpu {

// The streams that this process has, of all emulated devices. An engine makes
// its stream with a Device of its own and hands it to ours as a pointer; here
// it is told from one that is gone or never was a stream.
//
// Threads  any number at once
class StreamTable {
 public:
  static StreamTable& OfThisProcess();

  // The stream is known by its queue's address from here on.
  void Add(std::shared_ptr<StreamQueue> queue) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const void* native) ABSL_LOCKS_EXCLUDED(mutex_);
  // Null: no such stream.
  std::shared_ptr<StreamQueue> Find(const void* native)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Mutex mutex_;
  std::unordered_map<const void*, std::shared_ptr<StreamQueue>> queues_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_EMULATED_STREAM_TABLE_H_
