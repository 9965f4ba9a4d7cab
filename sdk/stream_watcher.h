#ifndef KVFERRY_SDK_STREAM_WATCHER_H_
#define KVFERRY_SDK_STREAM_WATCHER_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "sdk/attachment.h"
#include "sdk/stream_waiter.h"

namespace kvferry::sdk {

// The thread behind PrefixStream::event_fd(): waits for the words of every
// stream that asked for one, and makes the stream's eventfd readable when one
// changed. A stream that was told is left alone until it is armed again.
//
// The thread starts with the first stream. Between streams it sleeps, and holds
// nothing of theirs: while it waits, words stay mapped by what Arm gave it.
//
// Life cycle  1. Add   2. Arm after each look   3. Remove   4. Stop
// Threads     any number
class StreamWatcher {
 public:
  StreamWatcher() = default;
  ~StreamWatcher() { Stop(); }
  StreamWatcher(const StreamWatcher&) = delete;
  StreamWatcher& operator=(const StreamWatcher&) = delete;

  // Enters a stream whose eventfd is `event_fd`; returns its number, never 0.
  // Errors  kResourceExhausted  the thread could not be started
  //         kFailedPrecondition stopped
  absl::StatusOr<uint64_t> Add(int event_fd);
  // The eventfd becomes readable once a word of `waiter` differs from what the
  // stream saw, or `step` has passed.
  void Arm(uint64_t id, const StreamWaiter& waiter,
           const std::shared_ptr<Attachment>& attachment, absl::Duration step);
  // Nothing is written to the eventfd after this.
  void Remove(uint64_t id);

  // Ends the thread; streams are told nothing any more.
  void Stop();

 private:
  using Kept = std::shared_ptr<const void>;
  struct Watched {
    int event_fd = -1;
    bool armed = false;
    absl::Time due;
    std::vector<FutexWord> words;
    std::vector<Kept> kept;
  };

  absl::Status StartThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  // Tells the streams that have something, and fills `words` and `kept` with
  // what the others wait for. Returns how long at most.
  absl::Duration Collect(std::vector<FutexWord>* words, std::vector<Kept>* kept)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, Watched> watched_ ABSL_GUARDED_BY(mutex_);
  // Bumped for the thread to look again.
  std::atomic<uint32_t> wake_{0};
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_STREAM_WATCHER_H_
