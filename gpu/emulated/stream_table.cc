#include "gpu/emulated/stream_table.h"

#include <utility>

namespace kvferry::gpu {

StreamTable& StreamTable::OfThisProcess() {
  // Never destroyed: streams may outlive main.
  static auto* const table = new StreamTable;
  return *table;
}

void StreamTable::Add(std::shared_ptr<StreamQueue> queue) {
  MutexLock lock(&mutex_);
  const void* const native = queue.get();
  queues_.emplace(native, std::move(queue));
}

void StreamTable::Remove(const void* native) {
  std::shared_ptr<StreamQueue> removed;  // waits for its work without the lock
  MutexLock lock(&mutex_);
  const auto found = queues_.find(native);
  if (found == queues_.end()) return;
  removed = std::move(found->second);
  queues_.erase(found);
}

std::shared_ptr<StreamQueue> StreamTable::Find(const void* native) {
  MutexLock lock(&mutex_);
  const auto found = queues_.find(native);
  return found == queues_.end() ? nullptr : found->second;
}

}  // namespace kvferry::gpu
