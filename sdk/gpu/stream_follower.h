#ifndef KVFERRY_SDK_GPU_STREAM_FOLLOWER_H_
#define KVFERRY_SDK_GPU_STREAM_FOLLOWER_H_

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "gpu/device.h"
#include "sdk/gpu/gpu_operation.h"
#include "sdk/gpu/page_finder.h"
#include "sdk/gpu/transfer_engine.h"
#include "sdk/stream_state.h"

namespace kvferry::sdk {

// A prompt that is copied while it is being written.
//
// Threads  the follower's, until it ends the transfer's first part; then the
//          finisher's
struct FollowTask {
  std::unique_ptr<StreamState> stream;
  int event_fd = -1;  // the stream's
  std::shared_ptr<GpuOperation> operation;
  std::shared_ptr<const gpu::PreparedLayout> layout;
  std::vector<uint64_t> engine_blocks;  // one a key
  uint32_t last_tokens = 0;
  uint32_t layers_a_piece = 0;  // 0: whole blocks only
  std::unique_ptr<PageFinder> finder;
  const gpu::Event* after = nullptr;  // the transfer keeps it

  // With the device: blocks [0, whole) with all layers, [whole, layered_end)
  // with the first `layers`.
  uint32_t whole = 0;
  uint32_t layered_end = 0;
  uint32_t layers = 0;
};

// The thread that follows streams for Gpu::Follow, any number of them: it
// sleeps until one has news, and gives the device what has come.
//
// A stream ends when nothing of it will come any more, its transfer failed, or
// the follower is stopped; its first part ends then. What was copied is
// confirmed by the transfer's finisher, after the device is done.
//
// Life cycle  1. Add (the first starts the thread)   2. Stop
// Threads     Add: any. Stop: the owner's.
class StreamFollower {
 public:
  explicit StreamFollower(TransferEngine* engine) : engine_(engine) {}
  ~StreamFollower() { Stop(); }
  StreamFollower(const StreamFollower&) = delete;
  StreamFollower& operator=(const StreamFollower&) = delete;

  // Makes ready for a task.
  // Errors  kResourceExhausted, kFailedPrecondition (stopped)
  absl::Status Start();
  // REQUIRES  Start was OK
  void Add(std::shared_ptr<FollowTask> task);
  // Ends every stream where it is: kAborted.
  void Stop();

 private:
  void Run();
  void Wake();
  // Takes one look. False: the stream has ended, and so has its part.
  bool Step(FollowTask* task);
  absl::Status LaunchNews(FollowTask* task);
  // Layers [range) of blocks [first, end).
  absl::Status Launch(FollowTask* task, uint32_t first, uint32_t end,
                      gpu::LayerRange range);

  TransferEngine* const engine_;
  Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::shared_ptr<FollowTask>> added_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
  UniqueFd wake_;  // set before the thread starts

  std::vector<std::shared_ptr<FollowTask>> tasks_;  // the thread's own
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_STREAM_FOLLOWER_H_
